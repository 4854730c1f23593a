// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/weir-stream/weir/controllers/operatorconfig"
	"github.com/weir-stream/weir/controllers/streamjob"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/controllers/streamsnapshot"

	. "github.com/onsi/gomega"
)

// runtimeObject is any object of the API.
type runtimeObject = kruntime.Object

// quietManager are the options that all managers of the tests share.
func quietManager() ctrl.Options {
	return ctrl.Options{
		Scheme:     scheme,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	}
}

// skewedClock is the real time, and what a test let pass of it.
type skewedClock struct{ ahead atomic.Int64 }

// Now returns the time.
func (c *skewedClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Since returns how long ago a time is.
func (c *skewedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// pass lets time pass.
func (c *skewedClock) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// perNamespace is how many objects of one namespace an operator works on at once: half of what it does in all.
const perNamespace = 4

// operator is one run of the operator.
type operator struct {
	// budget is how many more writes and commands go through; negative: any number.
	budget atomic.Int64
	// dead is closed when the budget is used up.
	dead chan struct{}
	// faults are what goes wrong while it lives on.
	faults faults
	once   sync.Once
	stop   func()
	// image of the engine that it comes with.
	image string
	// elsewhere are the namespaces that it looks after besides that of the test.
	elsewhere []string
	// user is who it is to the API server; empty: the administrator.
	user string
	// defaults is its configuration; nil: it has none.
	defaults *operatorconfig.Live
	// held holds up requests; nil: none.
	held *heldUp

	mu struct {
		sync.Mutex
		// requests to the API server since they were asked for, watches left out, and when the last one was made.
		requests []string
		last     time.Time
	}
}

// asked returns the requests to the API server since the last call, watches left out.
func (o *operator) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	requests := o.mu.requests
	o.mu.requests = nil
	return requests
}

// rests waits until the operator has had nothing to ask the API server for a while.
func (o *operator) rests(t *testing.T) {
	t.Helper()
	o.restsFor(t, 500*time.Millisecond)
}

// restsFor is rests for a while that is given.
func (o *operator) restsFor(t *testing.T, while time.Duration) {
	t.Helper()
	NewWithT(t).Eventually(func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.mu.last.IsZero() {
			return errors.New("it has asked nothing yet")
		}
		if quiet := time.Since(o.mu.last); quiet < while {
			return fmt.Errorf("it asked %s ago: %v", quiet, o.mu.requests[max(0, len(o.mu.requests)-3):])
		}
		o.mu.requests = nil
		return nil
	}).WithTimeout(patience).WithPolling(50*time.Millisecond).Should(Succeed(), "the operator comes to rest")
}

// operate runs the operator for the namespace of the test, and what options say, until stop is called or the test ends.
func (c *cluster) operate(options ...func(*operator)) *operator {
	c.t.Helper()
	o := &operator{dead: make(chan struct{}), image: "weir:test"}
	o.budget.Store(-1)
	for _, option := range options {
		option(o)
	}
	cfg := rest.CopyConfig(server)
	cfg.Impersonate.UserName = o.user
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return recorded{o, next} })
	opts := quietManager()
	var err error
	if opts.Cache, err = streamjob.CacheOptions(append(o.elsewhere, c.namespace)); err != nil {
		c.t.Fatal(err)
	}
	opts.Logger = funcr.NewJSON(func(line string) { _, _ = c.Write([]byte(line)) }, funcr.Options{Verbosity: 1})
	opts.NewClient = func(cfg *rest.Config, opts client.Options) (client.Client, error) {
		inner, err := client.NewWithWatch(cfg, opts)
		if err != nil {
			return nil, err
		}
		return interceptor.NewClient(inner, o.interceptor()), nil
	}
	mgr, err := ctrl.NewManager(cfg, opts)
	if err != nil {
		c.t.Fatal(err)
	}
	poller := &engine.Poller{Dial: func(key types.NamespacedName, t engine.Target) (engine.API, error) {
		return mortal{connection{nodes.world(key.Namespace).storage, t.Addr}, o}, nil
	}}
	if err := mgr.Add(poller); err != nil {
		c.t.Fatal(err)
	}
	r := &streamjob.Reconciler{
		Clock: c.clock, Engines: poller,
		Settings:     resources.Settings{EngineImage: o.image},
		PerNamespace: perNamespace,
	}
	if o.defaults != nil {
		r.Defaults = o.defaults
		if err := mgr.Add(o.defaults); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := r.SetupWithManager(mgr); err != nil {
		c.t.Fatal(err)
	}
	snapshots := &streamsnapshot.Reconciler{Clock: c.clock, Engines: poller, Settings: r.Settings, PerNamespace: perNamespace}
	if err := snapshots.SetupWithManager(mgr); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("the operator ended: %v", err)
		}
	})
	c.t.Cleanup(o.stop)
	return o
}

// withImage is an operator that comes with another image of the engine.
func withImage(image string) func(*operator) { return func(o *operator) { o.image = image } }

// as is an operator with the rights of a user.
func as(user string) func(*operator) { return func(o *operator) { o.user = user } }

// alsoIn looks after the namespace of another world too.
func alsoIn(other *cluster) func(*operator) {
	return func(o *operator) { o.elsewhere = append(o.elsewhere, other.namespace) }
}

// recorded remembers the requests of an operator.
type recorded struct {
	operator *operator
	next     http.RoundTripper
}

// RoundTrip does a request.
func (r recorded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Query().Get("watch") == "" {
		path, _, _ := strings.Cut(req.URL.Path, "?")
		r.operator.mu.Lock()
		r.operator.mu.requests = append(r.operator.mu.requests, fmt.Sprintf("%s %s", req.Method, path))
		r.operator.mu.last = time.Now()
		r.operator.mu.Unlock()
	}
	if h := r.operator.held; h != nil && h.concerns(req) {
		h.wait(req.Context())
	}
	return r.next.RoundTrip(req)
}
