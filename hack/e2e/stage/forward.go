// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// forward is a port-forward to a pod.
type forward struct {
	// addr is its address on this machine.
	addr  string
	stop  chan struct{}
	once  sync.Once
	ended chan struct{}
}

// openForward opens one and waits until it is ready.
func openForward(ctx context.Context, cfg *rest.Config, pod *corev1.Pod, port int) (*forward, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	u := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		return nil, err
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	f := &forward{stop: make(chan struct{}), ended: make(chan struct{})}
	ready := make(chan struct{})
	errs := &strings.Builder{}
	pf, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, f.stop, ready, io.Discard, errs)
	if err != nil {
		return nil, err
	}
	result := make(chan error, 1)
	go func() {
		defer close(f.ended)
		result <- pf.ForwardPorts()
	}()
	select {
	case <-ready:
	case err := <-result:
		return nil, fmt.Errorf("forwarding to pod %s: %w %s", pod.Name, err, errs)
	case <-ctx.Done():
		f.close()
		return nil, context.Cause(ctx)
	}
	ports, err := pf.GetPorts()
	if err != nil {
		f.close()
		return nil, err
	}
	f.addr = fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
	return f, nil
}

// alive says whether it still forwards.
func (f *forward) alive() bool {
	if f == nil {
		return false
	}
	select {
	case <-f.ended:
		return false
	default:
		return true
	}
}

// close ends it.
func (f *forward) close() {
	f.once.Do(func() { close(f.stop) })
}
