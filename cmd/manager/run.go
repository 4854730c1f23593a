// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/operatorconfig"
	"github.com/weir-stream/weir/controllers/streamjob"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/controllers/streamsnapshot"
)

const (
	// leaseName is the lease that one manager of a cluster holds.
	leaseName = "weir-manager"
	// shutdownTimeout is how long passes that run may take to end.
	shutdownTimeout = 10 * time.Second
)

// run runs the operator until ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string) error {
	o, err := parseOptions(args, getenv)
	if err != nil {
		return err
	}
	if o.version {
		fmt.Println(version())
		return nil
	}
	ctrl.SetLogger(zap.New(zap.JSONEncoder(func(c *zapcore.EncoderConfig) { c.EncodeTime = zapcore.RFC3339NanoTimeEncoder }),
		zap.Level(zapcore.Level(-o.verbosity)), zap.StacktraceLevel(zapcore.DPanicLevel), zap.WriteTo(os.Stderr)))
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	config.UserAgent = "weir-manager/" + version()
	mgr, err := newManager(ctx, config, o)
	if err != nil {
		return err
	}
	ctrl.Log.Info("Starting the operator", "version", version(), "engineImage", o.engineImage, "namespaces", o.namespaceList())
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the operator: %w", err)
	}
	return nil
}

// newManager returns a manager with the controllers of StreamJobs and StreamSnapshots.
func newManager(ctx context.Context, config *rest.Config, o *options) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cached, err := streamjob.CacheOptions(o.namespaceList())
	if err != nil {
		return nil, err
	}
	shutdown, warm := shutdownTimeout, true
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Cache:                   cached,
		Client:                  client.Options{FieldOwner: streamjob.FieldOwner},
		LeaderElection:          o.leaderElect,
		LeaderElectionID:        leaseName,
		LeaderElectionNamespace: o.leaderNamespace,
		// The process ends as soon as the manager has: nothing works on without the lease.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &shutdown,
		// Who waits for the lease reads what there is, so that it only has to begin.
		Controller:             ctrlconfig.Controller{EnableWarmup: &warm},
		HealthProbeBindAddress: o.healthAddr,
		Metrics: metricsserver.Options{
			BindAddress:    o.metricsAddr,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
			CertDir:        o.metricsCertDir,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	if err := addChecks(mgr); err != nil {
		return nil, err
	}
	return mgr, addController(ctx, mgr, o)
}

// namespaceFile is where a pod finds the name of its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// operatorNamespace returns the namespace that the manager runs in; empty: it does not run in a pod.
func operatorNamespace(o *options) string {
	if o.namespace != "" {
		return o.namespace
	}
	text, err := os.ReadFile(namespaceFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func addController(ctx context.Context, mgr ctrl.Manager, o *options) error {
	defaults, err := operatorconfig.Open(ctx, o.config, ctrl.Log.WithName("config"), nil)
	if err != nil {
		return err
	}
	if err := mgr.Add(defaults); err != nil {
		return fmt.Errorf("adding the configuration: %w", err)
	}
	if err := metrics.Registry.Register(defaults); err != nil {
		return fmt.Errorf("registering the metrics of the configuration: %w", err)
	}
	traces, err := addTraces(ctx, mgr)
	if err != nil {
		return err
	}
	r := &streamjob.Reconciler{
		Settings: resources.Settings{
			EngineImage: o.engineImage, EngineImagePullPolicy: corev1.PullPolicy(o.engineImagePullPolicy),
			OperatorNamespace: operatorNamespace(o),
		},
		Defaults:     defaults,
		Metrics:      streamjob.NewMetrics(),
		Traces:       traces,
		Concurrency:  o.concurrency,
		PerNamespace: o.atMost(),
	}
	if err := metrics.Registry.Register(r.Metrics); err != nil {
		return fmt.Errorf("registering the metrics of StreamJobs: %w", err)
	}
	if err := r.SetupWithManager(mgr); err != nil {
		return err
	}
	return snapshots(o, r).SetupWithManager(mgr)
}

// snapshots returns the reconciler of StreamSnapshots that goes with that of StreamJobs.
func snapshots(o *options, r *streamjob.Reconciler) *streamsnapshot.Reconciler {
	return &streamsnapshot.Reconciler{
		Settings: r.Settings, Defaults: r.Defaults, Engines: r.Engines, Warnings: r.Warnings, Concurrency: o.concurrency, PerNamespace: o.atMost(),
	}
}

func addChecks(mgr ctrl.Manager) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("adding the health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("adding the readiness check: %w", err)
	}
	return nil
}

// newScheme returns the kinds that the operator reads and writes, and no others: each costs memory.
func newScheme() (*kruntime.Scheme, error) {
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme, streamv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("collecting the kinds: %w", err)
		}
	}
	return scheme, nil
}

// version is that of the module, or of the commit that the program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}
