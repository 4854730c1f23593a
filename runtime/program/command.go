// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/remotestore"
	"github.com/weir-stream/weir/runtime/telemetry"
	"github.com/weir-stream/weir/runtime/transport"
	"github.com/weir-stream/weir/runtime/worker"
)

// Command describes a binary that runs jobs.
type Command struct {
	// Name of the binary and Short, one line about it.
	Name, Short string
	// Build makes the graph of the job.
	Build Build
	// Version of the build. Default: [Version].
	Version string
	// Defaults is the configuration that flags change, for a program that runs its own job; nil for the
	// stock engine, whose jobs come from files only.
	Defaults *contract.JobConfig
}

const maxConfig = 16 << 20

// Execute runs the command line of this process and returns its exit code.
func Execute(c Command) int {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	root := c.root(signals)
	if err := root.ExecuteContext(context.Background()); err != nil { //nolint:forbidigo // this is the main function of a program
		_, _ = fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name, err)
		return 1
	}
	return 0
}

func (c Command) root(signals <-chan os.Signal) *cobra.Command {
	if c.Version == "" {
		c.Version = Version()
	}
	root := &cobra.Command{
		Use: c.Name, Short: c.Short, SilenceUsage: true, SilenceErrors: true, Version: c.Version,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(c.coordinatorCommand(signals), WorkerCommand(c), c.agentCommand(signals), c.planCommand())
	if c.Defaults != nil {
		root.AddCommand(c.runCommand(signals))
	}
	return root
}

// untilSignal returns a context that ends with the first signal.
func untilSignal(ctx context.Context, signals <-chan os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("ended by signal: %v", s))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// drainable returns a channel that is closed with the first signal if that is SIGTERM, and a context that ends with any other signal.
func drainable(ctx context.Context, signals <-chan os.Signal) (context.Context, <-chan struct{}, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	drain := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			select {
			case s := <-signals:
				if first && s == syscall.SIGTERM {
					close(drain)
					continue
				}
				cancel(fmt.Errorf("ended by signal: %v", s))
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, drain, func() { cancel(nil) }
}

// jobConfig reads the configuration of a job.
func (c Command) jobConfig(path string) (contract.JobConfig, error) {
	cfg := contract.JobConfig{}
	if c.Defaults != nil {
		cfg = *c.Defaults
	}
	if path == "" {
		if c.Defaults == nil {
			return cfg, errors.New("--job FILE is missing: weir config prints one from a StreamJob")
		}
		return cfg, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return cfg, fmt.Errorf("opening the configuration of the job: %w", err)
	}
	defer func() { _ = f.Close() }()
	d := json.NewDecoder(io.LimitReader(f, maxConfig))
	d.DisallowUnknownFields()
	if err := d.Decode(&cfg); err != nil {
		return cfg, fmt.Errorf("reading the configuration of the job from %s: %w", path, err)
	}
	return cfg, nil
}

func (c Command) coordinatorCommand(signals <-chan os.Signal) *cobra.Command {
	var f coordinatorFlags
	cmd := &cobra.Command{
		Use: "coordinator", Args: cobra.NoArgs,
		Short: "Run the coordinator of a job",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context(), signals)
			defer stop()
			if f.supervise {
				return lastWords(f.terminationLog, c.supervise(ctx, f))
			}
			if f.standby {
				return errors.New("--standby needs --supervise")
			}
			cfg, err := c.jobConfig(f.job)
			if err != nil {
				return err
			}
			return lastWords(f.terminationLog, c.coordinate(ctx, cfg, f))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.job, "job", "", "file with the configuration of the job as JSON")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:6123", "address for workers")
	flags.StringVar(&f.api, "api", "127.0.0.1:8081", "address of the control API")
	flags.StringVar(&f.tlsDir, "tls", "", "directory with certificates, for mutual TLS")
	flags.Int64Var(&f.grant, "grant", 1, "number of this deployment of the coordinator, ascending in the life of the job")
	flags.BoolVar(&f.supervise, "supervise", false, "stay up and tell: what keeps the job from starting, which is tried again, and how it ended")
	flags.BoolVar(&f.standby, "standby", false, "with --supervise, claim nothing until the control API is told to activate it, but take workers and read the state")
	flags.StringVar(&f.health, "health", "", "address for health checks and metrics without TLS, with --supervise (default: none)")
	flags.StringVar(&f.terminationLog, "termination-log", "", "file for the reason when this process ends with an error")
	return cmd
}

type coordinatorFlags struct {
	job, listen, api, tlsDir, health, terminationLog string
	grant                                            int64
	supervise, standby                               bool
	// gate holds coordinators back that stand by.
	gate *coordinator.Gate
	// traces are those of this process; nil: none.
	traces *telemetry.Traces
	pace   *pacer
}

// lastWords writes the reason for the end of this process to a file, for those who look after it.
func lastWords(file string, err error) error {
	if err == nil || file == "" {
		return err
	}
	return errors.Join(err, os.WriteFile(file, []byte(err.Error()+"\n"), 0o600))
}

// coordinate runs a coordinator for workers of other processes.
func (c Command) coordinate(ctx context.Context, cfg contract.JobConfig, f coordinatorFlags) error {
	if f.grant < 1 {
		return errors.New("--grant must be 1 or more")
	}
	log := JSONLogger(os.Stderr)
	boundMemory(log)
	s, err := openStorage(ctx, cfg.Storage)
	if err != nil {
		return err
	}
	defer s.close()
	f.traces, f.pace = openTraces(ctx, &cfg, c.Version, log), newPacer()
	defer f.traces.Close(ctx)
	o := c.coordinatorOptions(cfg, s, f)
	if !s.durable {
		o.Store = remotestore.Limit(s.store, remotestore.DefaultLimit)
	}
	if o.APITLS, o.ControlTLS, err = coordinatorTLS(f.tlsDir); err != nil {
		return err
	}
	if o.Control, err = listen(ctx, f.listen, "workers (--listen)"); err != nil {
		return err
	}
	if o.API, err = listen(ctx, f.api, "the control API (--api)"); err != nil {
		return errors.Join(err, o.Control.Close())
	}
	co, err := coordinator.New(o)
	if err != nil {
		return errors.Join(err, o.Control.Close(), o.API.Close())
	}
	log.Info("Serving", "workers", o.Control.Addr().String(), "api", o.API.Addr().String(), "storage", s.describe())
	r, err := co.Run(ctx)
	if err != nil {
		return err
	}
	log.Info("The coordinator ended", "state", r.State, "reason", r.Error)
	if r.State == contract.JobFailed {
		return fmt.Errorf("%w: %s", ErrJobFailed, r.Error)
	}
	return nil
}

func (c Command) coordinatorOptions(cfg contract.JobConfig, s *openedStorage, f coordinatorFlags) coordinator.Options {
	return coordinator.Options{
		Job: cfg, Grant: f.grant, Build: c.Build.safely, Store: s.store, Location: s.location, Durable: s.durable,
		Version: c.Version, Traces: f.traces.Provider(), Turned: f.pace.turn, Log: JSONLogger(os.Stderr).WithName("coordinator"),
	}
}

// supervise runs coordinators under a supervisor. The configuration is read anew for each.
func (c Command) supervise(ctx context.Context, f coordinatorFlags) error {
	if f.grant < 1 {
		return errors.New("--grant must be 1 or more")
	}
	cfg, err := c.jobConfig(f.job)
	if err != nil {
		return err
	}
	boundMemory(JSONLogger(os.Stderr))
	apiTLS, controlTLS, err := coordinatorTLS(f.tlsDir)
	if err != nil {
		return err
	}
	if f.standby {
		f.gate = coordinator.NewGate()
	}
	f.traces, f.pace = openTraces(ctx, &cfg, c.Version, JSONLogger(os.Stderr)), newPacer()
	defer f.traces.Close(ctx)
	o := coordinator.SupervisorOptions{
		Grant: f.grant, Standby: f.gate,
		Namespace: cfg.Namespace, Name: cfg.Name, Durable: cfg.Storage != nil, APITLS: apiTLS, Log: JSONLogger(os.Stderr).WithName("supervisor"),
		Make: func(ctx context.Context) (*coordinator.Coordinator, func(), error) {
			return c.nextCoordinator(ctx, f, controlTLS)
		},
	}
	if o.API, err = listen(ctx, f.api, "the control API (--api)"); err != nil {
		return err
	}
	if f.health != "" {
		if o.Health, err = listen(ctx, f.health, "health checks (--health)"); err != nil {
			return errors.Join(err, o.API.Close())
		}
	}
	o.Log.Info("Serving", "workers", f.listen, "api", o.API.Addr().String(), "grant", f.grant)
	return coordinator.NewSupervisor(o).Run(ctx)
}

// nextCoordinator makes a coordinator, and what releases its storage.
func (c Command) nextCoordinator(ctx context.Context, f coordinatorFlags, controlTLS *tls.Config) (*coordinator.Coordinator, func(), error) {
	cfg, err := c.jobConfig(f.job)
	if err != nil {
		return nil, nil, &coordinator.InvalidJobError{Err: err}
	}
	s, err := openStorage(ctx, cfg.Storage)
	if err != nil {
		return nil, nil, err
	}
	o := c.coordinatorOptions(cfg, s, f)
	o.Operated, o.ControlTLS, o.Standby = true, controlTLS, f.gate
	if !s.durable {
		o.Store = remotestore.Limit(s.store, remotestore.DefaultLimit)
	}
	if o.Control, err = listen(ctx, f.listen, "workers (--listen)"); err != nil {
		s.close()
		return nil, nil, err
	}
	co, err := coordinator.New(o)
	if err != nil {
		s.close()
		return nil, nil, &coordinator.InvalidJobError{Err: errors.Join(err, o.Control.Close())}
	}
	return co, s.close, nil
}

// WorkerCommand is the command that runs a worker.
func WorkerCommand(c Command) *cobra.Command {
	var f workerFlags
	cmd := &cobra.Command{
		Use: "worker", Args: cobra.NoArgs,
		Short: "Run a worker of a job",
		RunE: func(cmd *cobra.Command, _ []string) error {
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
			defer signal.Stop(signals)
			ctx, drain, stop := drainable(cmd.Context(), signals)
			defer stop()
			f.drain = drain
			if f.lifeline {
				var cut context.CancelFunc
				ctx, cut = withLifeline(ctx, os.Stdin)
				defer cut()
			}
			return lastWords(f.terminationLog, c.work(ctx, f))
		},
	}
	cmd.Flags().StringVar(&f.coordinator, "coordinator", "127.0.0.1:6123", "address of the coordinator")
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:0", "address for other workers")
	cmd.Flags().StringVar(&f.advertise, "advertise", "", "host or host:port that other workers dial (default: that of --listen)")
	cmd.Flags().StringVar(&f.name, "name", "", "name of the worker, unique among those of the job, new for each process (default: random)")
	cmd.Flags().StringVar(&f.namePrefix, "name-prefix", "worker", "without --name, what the random name begins with")
	cmd.Flags().IntVar(&f.slots, "slots", 1, "how many subtasks of each operator this worker takes")
	cmd.Flags().StringVar(&f.localDir, "local-dir", "",
		"directory of this worker alone for copies of state files, which a job with local recovery restores from (default: none)")
	cmd.Flags().StringVar(&f.tlsDir, "tls", "", "directory with certificates, for mutual TLS")
	cmd.Flags().StringVar(&f.health, "health", "", "address for health checks; the process then stays up after the job has ended, until it is told to end (default: none)")
	cmd.Flags().StringVar(&f.terminationLog, "termination-log", "", "file for the reason when this process ends with an error")
	cmd.Flags().DurationVar(&f.drainTimeout, "drain-timeout", worker.DefaultDrainTimeout,
		"how long SIGTERM waits for a checkpoint of the job before this process ends; a second one doesn't")
	cmd.Flags().BoolVar(&f.lifeline, "lifeline", false, "end when standard input ends")
	cmd.Flags().BoolVar(&f.plain, "plain", false, "log text instead of JSON")
	cmd.Flags().IntVar(&f.verbose, "verbose", 0, "with --plain, how much to log")
	for _, hidden := range []string{"lifeline", "plain", "verbose"} {
		_ = cmd.Flags().MarkHidden(hidden)
	}
	return cmd
}

type workerFlags struct {
	coordinator, listen, advertise, health, terminationLog, name, namePrefix, tlsDir, localDir string
	slots, verbose                                                                             int
	lifeline, plain                                                                            bool
	drainTimeout                                                                               time.Duration
	// drain is closed when the process is to end once the job has a checkpoint.
	drain <-chan struct{}
}

func (f workerFlags) logger() logr.Logger {
	if f.plain {
		return PlainLogger(os.Stderr, f.verbose)
	}
	return JSONLogger(os.Stderr)
}

// work runs a worker of another process's coordinator.
func (c Command) work(ctx context.Context, f workerFlags) error {
	if f.slots < 1 {
		return errors.New("--slots must be 1 or more")
	}
	if f.name == "" {
		f.name = newName(f.namePrefix)
	}
	boundMemory(f.logger())
	var secure *tls.Config
	pace := newPacer()
	o := worker.Options{
		Turned: pace.turn, Working: pace.rouse,
		Name: f.name, Slots: f.slots, Version: c.Version, DataListenAddr: f.listen, AdvertiseAddr: f.advertise,
		LocalDir: f.localDir, Drain: f.drain, DrainTimeout: f.drainTimeout,
		Build: c.Build.safely,
		Store: func(ctx context.Context, job contract.JobConfig) (storage.Store, error) {
			if job.Storage == nil {
				return remotestore.Dial(f.coordinator, secure)
			}
			s, err := openStorage(ctx, job.Storage)
			if err != nil {
				return nil, err
			}
			return s.store, nil
		},
		Log: f.logger().WithName("worker"),
	}
	if f.tlsDir != "" {
		files := transport.CertFiles(f.tlsDir, "worker")
		var err error
		if secure, err = files.Client(transport.RoleCoordinator); err != nil {
			return err
		}
		o.TLS = &files
	}
	o.Connect = worker.Dial(f.coordinator, secure)
	if f.health == "" {
		return untilTold(ctx, worker.Run(ctx, o))
	}
	h, err := startHealth(ctx, f.health)
	if err != nil {
		return err
	}
	defer h.stop()
	o.Registered = h.registered.Store
	o.Turned = func() {
		h.turn()
		pace.turn()
	}
	o.ConnectTimeout = math.MaxInt64 // whoever looks after this process judges by its health
	err = worker.Run(ctx, o)
	h.over.Store(true)
	if err == nil { // the job is over, and whoever looks after this process would only start it again
		select {
		case <-ctx.Done():
		case <-f.drain:
		}
	}
	return untilTold(ctx, err)
}

// untilTold leaves out the error of a process that was told to end.
func untilTold(ctx context.Context, err error) error {
	if errors.Is(err, worker.ErrDrained) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// coordinatorTLS returns the configurations of the control API and of the server for workers; none without a directory.
func coordinatorTLS(dir string) (api, control *tls.Config, err error) {
	if dir == "" {
		return nil, nil, nil
	}
	files := transport.CertFiles(dir, "coordinator")
	if api, err = files.Server(transport.RoleClient, transport.RoleCoordinator); err != nil {
		return nil, nil, err
	}
	control, err = files.Server(transport.RoleWorker)
	return api, control, err
}
