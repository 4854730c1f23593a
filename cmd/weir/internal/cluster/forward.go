// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

// Forwarder opens tunnels to pods.
type Forwarder interface {
	// Forward returns a local address that leads to a port of a pod until ctx ends.
	Forward(ctx context.Context, pod string, port int) (addr string, err error)
}

// ControlAPI returns a client of the control API of a job's coordinator, through a tunnel that lasts until ctx ends. It
// shows the certificate that the operator issued for the job's clients.
func (c *Cluster) ControlAPI(ctx context.Context, job *streamv1.StreamJob) (*contract.Client, error) {
	pod, err := c.coordinator(ctx, job)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: job.Namespace, Name: certs.SecretName(job.Name, certs.Client)}
	if err := c.Client.Get(ctx, key, secret); err != nil {
		return nil, explainAccess("reading the certificate for clients of the job", "get the secret "+key.Name, job, err)
	}
	tlsConfig, err := certs.ClientTLS(secret)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate in secret %s: %w", key.Name, err)
	}
	addr, err := c.Forward.Forward(ctx, pod, resources.APIPort)
	if err != nil {
		return nil, explainAccess("opening a tunnel to pod "+pod, "create pods/portforward", job, err)
	}
	return contract.NewClient(addr, contract.ClientOptions{TLS: tlsConfig})
}

// coordinator returns the pod of the coordinator of the deployed version.
func (c *Cluster) coordinator(ctx context.Context, job *streamv1.StreamJob) (string, error) {
	d := job.Status.Deployment
	if d == nil || d.Ended != "" {
		return "", fmt.Errorf("StreamJob %s is %s, so no coordinator runs that could be asked (%q shows what the operator knows)",
			job.Name, strings.ToLower(string(orPending(job.Status.Phase))), "weir status "+job.Name)
	}
	list := &corev1.PodList{}
	labels := client.MatchingLabels(resources.Labels(job.Name, d.Grant, resources.CoordinatorComponent))
	if err := c.Client.List(ctx, list, client.InNamespace(job.Namespace), labels); err != nil {
		return "", c.explain("listing the pods", job.Name, err)
	}
	for i := range list.Items {
		if p := &list.Items[i]; p.DeletionTimestamp.IsZero() && answers(p) {
			return p.Name, nil
		}
	}
	return "", fmt.Errorf("the coordinator of StreamJob %s isn't ready to answer (%q shows why)", job.Name, "weir status "+job.Name)
}

// startPatience is for how long after its start a coordinator's pod is taken to answer although its probe has not made it ready.
const startPatience = 30 * time.Second

// answers says that the pod answers, as far as can be seen. It does some seconds before its probe makes it ready; one that crashes over and over, or has stopped to
// answer, counts as running, but not as ready, and isn't asked.
func answers(p *corev1.Pod) bool {
	if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
		return true
	}
	return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Name == resources.CoordinatorComponent && c.State.Running != nil && c.RestartCount == 0 && time.Since(c.State.Running.StartedAt.Time) < startPatience
	})
}

func orPending(p streamv1.Phase) streamv1.Phase {
	if p == "" {
		return streamv1.PhasePending
	}
	return p
}

// portForwarder tunnels through the API server, over WebSocket or, with servers that don't speak it for this, SPDY.
type portForwarder struct {
	config    *rest.Config
	namespace string
}

// Forward listens on a free local port and forwards it.
func (f *portForwarder) Forward(ctx context.Context, pod string, port int) (string, error) {
	dialer, err := f.dialer(pod)
	if err != nil {
		return "", fmt.Errorf("preparing the tunnel: %w", err)
	}
	var problems bytes.Buffer
	ready := make(chan struct{})
	pf, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"127.0.0.1"},
		[]string{"0:" + strconv.Itoa(port)}, ready, io.Discard, &problems)
	if err != nil {
		return "", fmt.Errorf("preparing the tunnel: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- pf.ForwardPorts() }() // ends with ctx
	select {
	case <-ready:
	case err := <-ended:
		return "", errors.Join(err, nonEmpty(problems.String()))
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for the tunnel: %w", ctx.Err())
	}
	ports, err := pf.GetPorts()
	if err != nil || len(ports) == 0 {
		return "", errors.Join(errors.New("the tunnel has no local port"), err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))), nil
}

func (f *portForwarder) dialer(pod string) (httpstream.Dialer, error) {
	api, err := corev1client.NewForConfig(f.config)
	if err != nil {
		return nil, err
	}
	url := api.RESTClient().Post().Resource("pods").Namespace(f.namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(f.config)
	if err != nil {
		return nil, err
	}
	overSPDY := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, f.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(overWebSocket, overSPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

func nonEmpty(text string) error {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	return errors.New(text)
}
