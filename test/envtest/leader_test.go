// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// lease is how long a leader that is gone keeps others from leading, as cmd/manager has it.
const lease = 15 * time.Second

// replica is a process of the operator. What it writes to the API server is seen on the way.
type replica struct {
	t       *testing.T
	name    string
	process *exec.Cmd
	ended   chan struct{}
	output  bytes.Buffer

	mu struct {
		sync.Mutex
		// writes are those to anything but the lease, and when the first of them came.
		writes []string
		first  time.Time
		// campaigns says that it has asked for the lease, and watches of which kinds it watches the objects.
		campaigns bool
		watches   map[string]bool
	}
}

// replica starts a process of the operator for the namespace of the test, with leader election.
func (c *cluster) replica(program, name string) *replica {
	c.t.Helper()
	r := &replica{t: c.t, name: name, ended: make(chan struct{})}
	transport, err := rest.TransportFor(server)
	if err != nil {
		c.t.Fatal(err)
	}
	target, err := url.Parse(server.Host)
	if err != nil {
		c.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			r.sees(p.In)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	front := httptest.NewServer(proxy)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: front.URL}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	config.CurrentContext = "c"
	kubeconfig := filepath.Join(c.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		c.t.Fatal(err)
	}
	r.process = exec.CommandContext(c.t.Context(), program, "--engine-image=weir:test", "--leader-elect", "--leader-election-namespace="+c.namespace,
		"--namespaces="+c.namespace, "--metrics-bind-address=0", "--health-probe-bind-address=0")
	r.process.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	r.process.Stdout, r.process.Stderr = &r.output, &r.output
	if err := r.process.Start(); err != nil {
		c.t.Fatalf("starting replica %s: %v", name, err)
	}
	go func() {
		_ = r.process.Wait()
		close(r.ended)
	}()
	c.t.Cleanup(func() {
		r.ends(syscall.SIGKILL)
		front.CloseClientConnections()
		front.Close()
		if c.t.Failed() {
			lines := strings.Split(r.output.String(), "\n")
			c.t.Logf("replica %s:\n%s", name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	return r
}

// sees takes a request down that writes.
func (r *replica) sees(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.Contains(req.URL.Path, "/leases") {
		r.mu.campaigns = true
		return
	}
	if req.URL.Query().Get("watch") == "true" {
		if r.mu.watches == nil {
			r.mu.watches = map[string]bool{}
		}
		r.mu.watches[path.Base(req.URL.Path)] = true
	}
	if req.Method == http.MethodGet || strings.Contains(req.URL.Path, "/events") {
		return
	}
	if len(r.mu.writes) == 0 {
		r.mu.first = time.Now()
	}
	r.mu.writes = append(r.mu.writes, req.Method+" "+req.URL.Path)
}

// wrote returns what it has written besides the lease and events, and when it began to.
func (r *replica) wrote() (writes []string, first time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.mu.writes...), r.mu.first
}

// ends ends the process by a signal, and waits until it is gone.
func (r *replica) ends(signal os.Signal) {
	_ = r.process.Process.Signal(signal)
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Errorf("replica %s does not end", r.name)
	}
}

// standsBy waits until the process asks for the lease, which another one has.
func (r *replica) standsBy(c *cluster) {
	c.t.Helper()
	c.eventually("replica "+r.name+" asks for the lease", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.mu.campaigns {
			return errors.New("it has not")
		}
		return nil
	})
}

// isWarm waits until the process, which does not lead, watches what a leader works with.
func (r *replica) isWarm(c *cluster) {
	c.t.Helper()
	c.eventually("replica "+r.name+" watches", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, kind := range []string{"streamjobs", "streamsnapshots", "pods", "configmaps", "deployments", "statefulsets", "services"} {
			if !r.mu.watches[kind] {
				return fmt.Errorf("no %s, only %v", kind, r.mu.watches)
			}
		}
		return nil
	})
}

// idles wants that the process, which does not lead, has written nothing.
func (r *replica) idles(when string) {
	r.t.Helper()
	if writes, _ := r.wrote(); len(writes) > 0 {
		r.t.Errorf("replica %s does not lead, and wrote %s: %v", r.name, when, writes)
	}
}

// TestManager_ALeaderIsReplacedInTheMiddleOfAnUpgrade runs the program with leader election, kills the process that leads once the old version was asked
// for its savepoint, and finds that the other one ends the upgrade with that savepoint, within the time of the lease. Only one of them ever writes.
// A leader that ends in good order hands over at once.
func TestManager_ALeaderIsReplacedInTheMiddleOfAnUpgrade(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "manager")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/manager").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	c := newCluster(t)
	c.served.Store(true)
	leader := c.replica(program, "a")
	before := c.startTwo() // it leads by now
	standby := c.replica(program, "b")
	standby.standsBy(c)
	standby.isWarm(c)
	c.storage.set(func(s *script) { s.slow = true })
	c.edit(parallelism(3))
	c.eventually("the savepoint is under way", func() error {
		if len(c.storage.asked("Stop")) == 0 {
			return fmt.Errorf("nobody has asked for it")
		}
		return nil
	})
	standby.idles("before the leader was killed")
	leader.ends(syscall.SIGKILL)
	killed := time.Now()
	c.storage.set(func(s *script) { s.slow = false })
	job := c.running()
	_, first := standby.wrote()
	checkUpgraded(t, c, before, job)
	if took := first.Sub(killed); took <= 0 || took > 2*lease {
		t.Errorf("the standby began %s after the leader was killed, want at most %s", took, 2*lease)
	} else {
		t.Logf("the standby began %s after the leader was killed", took.Round(time.Millisecond))
	}

	third := c.replica(program, "c")
	third.standsBy(c)
	third.idles("while another one led")
	ending := time.Now()
	standby.ends(syscall.SIGTERM)
	c.edit(parallelism(2))
	c.running()
	if _, first = third.wrote(); first.Before(ending) || first.Sub(ending) > lease {
		t.Errorf("the third replica began %s after the second was told to end", first.Sub(ending))
	}
	t.Logf("the third began %s after the second was told to end", first.Sub(ending).Round(time.Millisecond))
}
