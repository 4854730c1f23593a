// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/runtime/contract"
)

// serve has the coordinator of a pod serve its control API at addr, as a real one does: with the certificate that the pod mounts, to
// who has one of the same authority. It returns what ends it.
func serve(ctx context.Context, world *cluster, pod *corev1.Pod, addr string) (end func(), err error) {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: pod.Namespace, Name: certs.SecretName(pod.Labels[streamv1.LabelJob], certs.Coordinator)}
	if err := admin.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("mounting the certificate of pod %s: %w", pod.Name, err)
	}
	pair, err := tls.X509KeyPair(secret.Data[certs.CertKey(certs.Coordinator)], secret.Data[certs.KeyKey(certs.Coordinator)])
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of pod %s: %w", pod.Name, err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(secret.Data[certs.AuthorityCertKey])
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serving the control API of pod %s: %w", pod.Name, err)
	}
	s := &http.Server{
		Handler: controlAPI(connection{world.storage, addr}), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
		},
	}
	go func() { _ = s.ServeTLS(listener, "", "") }()
	return func() { _ = s.Close() }, nil
}

// controlAPI answers as a coordinator does.
func controlAPI(c connection) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+contract.PathJob, asked(func(ctx context.Context, _ struct{}) (*contract.JobStatus, error) { return c.Job(ctx) }))
	mux.Handle("GET "+contract.PathCheckpoints, asked(func(ctx context.Context, _ struct{}) (*contract.CheckpointsReport, error) {
		return c.Checkpoints(ctx)
	}))
	mux.Handle("POST "+contract.PathCheckpoints, asked(c.Checkpoint))
	mux.Handle("POST "+contract.PathSavepoints, asked(c.Savepoint))
	mux.Handle("POST "+contract.PathStop, asked(c.Stop))
	mux.Handle("POST "+contract.PathCancel, asked(c.Cancel))
	mux.Handle("POST "+contract.PathActivate, asked(c.Activate))
	mux.Handle("PUT "+contract.PathPolicy, asked(c.SetPolicy))
	return mux
}

// asked answers requests of one kind.
func asked[Q, A any](do func(context.Context, Q) (*A, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request Q
		if r.Method != http.MethodGet {
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		answer, err := do(r.Context(), request)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			refused, ok := errors.AsType[*contract.APIError](err)
			if !ok {
				refused = &contract.APIError{Status: http.StatusServiceUnavailable, Message: err.Error()}
			}
			w.WriteHeader(refused.Status)
			_ = json.NewEncoder(w).Encode(refused)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
}
