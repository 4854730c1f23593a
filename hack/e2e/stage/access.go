// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Access is the way into the cluster: through port-forwards to the helper pods and to the S3 server. It is safe for concurrent use; Close ends it.
type Access struct {
	cfg    *rest.Config
	client kubernetes.Interface
	ctx    context.Context //nolint:containedctx // the life of the forwards and listeners, which no single call owns
	cancel context.CancelFunc
	mu     struct {
		sync.Mutex
		// forwards are those to helper pods and to the S3 server, by labels and node.
		forwards map[string]*forward
		// listeners are open until Close.
		listeners []net.Listener
	}
}

// Access opens the way in. What it leads through must be installed.
func (c *Cluster) Access(ctx context.Context) (*Access, error) {
	cfg, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	a := &Access{cfg: cfg, client: client}
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	a.mu.forwards = map[string]*forward{}
	return a, nil
}

// Close ends all forwards and listeners.
func (a *Access) Close() {
	a.cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.mu.listeners {
		_ = l.Close()
	}
	for _, f := range a.mu.forwards {
		f.close()
	}
}

// Client is a client of the cluster.
func (a *Access) Client() kubernetes.Interface { return a.client }

// helper returns the forward to the helper pod of a node; an empty name stands for any.
func (a *Access) helper(ctx context.Context, node string) (*forward, error) {
	const port = 3128
	return a.forward(ctx, "app=tool", node, port)
}

// forward returns an open forward to a pod of Namespace with the given labels, on a node if one is named.
func (a *Access) forward(ctx context.Context, labels, node string, port int) (*forward, error) {
	a.mu.Lock()
	f := a.mu.forwards[labels+node]
	a.mu.Unlock()
	if f.alive() {
		return f, nil
	}
	pods, err := a.client.CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		return nil, fmt.Errorf("looking for a pod with %s: %w", labels, err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil || node != "" && p.Spec.NodeName != node {
			continue
		}
		if f, err = openForward(ctx, a.cfg, p, port); err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.mu.forwards[labels+node] = f
		a.mu.Unlock()
		return f, nil
	}
	return nil, fmt.Errorf("no pod with %s runs in namespace %s (node %q): install it with \"go run ./hack/e2e prepare\"", labels, Namespace, node)
}

// Dial connects to an address as pods of the cluster see it.
func (a *Access) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	f, err := a.helper(ctx, "")
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", f.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	tunneled, err := connect(conn, addr)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to %s in the cluster: %w", addr, err)
	}
	return tunneled, nil
}

// connect asks the helper for a connection.
func connect(conn net.Conn, addr string) (net.Conn, error) {
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", addr, addr); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(b)))
	}
	return &bufferedConn{Conn: conn, r: r}, nil
}

// bufferedConn reads what was read ahead first.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

// Read implements [net.Conn].
func (c *bufferedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// CloseWrite tells the other side that nothing more comes.
func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Listen opens a port of this machine that leads to an address of the cluster, and returns its address.
func (a *Access) Listen(addr string) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(a.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	a.mu.listeners = append(a.mu.listeners, l)
	a.mu.Unlock()
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			go a.serve(here, addr)
		}
	}()
	return l.Addr().String(), nil
}

func (a *Access) serve(here net.Conn, addr string) {
	defer here.Close()
	there, err := a.Dial(a.ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer there.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(there, here)
		_ = there.(*bufferedConn).CloseWrite()
	}()
	_, _ = io.Copy(here, there)
	_ = here.(*net.TCPConn).CloseWrite()
	<-done
}

// Signal of a process.
type Signal string

// The signals.
const (
	// Kill ends a process at once.
	Kill Signal = "KILL"
	// Stop freezes it, and Continue lets it go on.
	Stop     Signal = "STOP"
	Continue Signal = "CONT"
	// Toggle makes a relay slow, and fast again.
	Toggle Signal = "USR1"
)

// SignalContainer sends a signal to all processes of a container of a pod.
func (a *Access) SignalContainer(ctx context.Context, pod *corev1.Pod, container string, s Signal) error {
	return a.signal(ctx, pod, container, "container", s)
}

// SignalShim sends a signal to the process of containerd that looks after a pod. Frozen, it keeps the kubelet from ending the pod.
func (a *Access) SignalShim(ctx context.Context, pod *corev1.Pod, container string, s Signal) error {
	return a.signal(ctx, pod, container, "shim", s)
}

func (a *Access) signal(ctx context.Context, pod *corev1.Pod, container, what string, s Signal) error {
	id, err := containerID(pod, container)
	if err != nil {
		return err
	}
	f, err := a.helper(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	q := url.Values{"signal": {string(s)}, what: {id}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.addr+"/signal?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("sending SIG%s to %s %s/%s: %w", s, what, pod.Name, container, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		return fmt.Errorf("sending SIG%s to %s %s/%s: %s", s, what, pod.Name, container, strings.TrimSpace(string(b)))
	}
	return nil
}

// containerID is the id of a running container without its scheme.
func containerID(pod *corev1.Pod, container string) (string, error) {
	for _, s := range pod.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && (container == "" || s.Name == container) {
			return id, nil
		}
	}
	return "", fmt.Errorf("pod %s has no running container %q", pod.Name, container)
}
