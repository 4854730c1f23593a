// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/transport"
)

// result is what one run came to.
type result struct {
	Records int64   `json:"records,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
	// Checkpoints that completed while it ran, not counting the savepoint at the end.
	Checkpoints int64 `json:"checkpoints,omitempty"`
	// Sync parts of the checkpoints in milliseconds, each the longest of any task.
	SyncMedian float64 `json:"syncMedianMillis,omitempty"`
	SyncMax    float64 `json:"syncMaxMillis,omitempty"`
	// StateMiB is the size of the largest checkpoint.
	StateMiB float64 `json:"stateMiB,omitempty"`
	// RSSMiB and PeakMiB are the resident memory of the process in the end and at its highest, HeapMiB the heap in use.
	RSSMiB  float64 `json:"rssMiB,omitempty"`
	PeakMiB float64 `json:"peakMiB,omitempty"`
	HeapMiB float64 `json:"heapMiB,omitempty"`
	// Cores is the processor time of all processes of the run by the time it took: much less than the cores of the
	// machine means that something else was busy, or that the job waited.
	Cores float64 `json:"cores,omitempty"`
	// GCShare is the share of the processor time of this process that the garbage collector took.
	GCShare float64 `json:"gcShare,omitempty"`
	// RecoveryMillis is the time from the kill of a worker to the first row that a sink took after it.
	RecoveryMillis float64 `json:"recoveryMillis,omitempty"`
	// Left is the share of the rate that turns with checkpoints had.
	Left float64 `json:"left,omitempty"`
}

const (
	startTimeout   = time.Minute
	pollEvery      = 3 * time.Second
	pollInput      = 100 * time.Millisecond
	beforeStart    = 20 * time.Millisecond
	mebi           = 1 << 20
	requestTimeout = 10 * time.Second
	// patience bounds a run, as a multiple of the wanted time.
	patience = 10
	// tries bounds how often the size of an input is guessed; a guess is good if it is short by less than longEnough.
	tries      = 4
	longEnough = 1.15
)

// measurement is one run of a job in this process.
type measurement struct {
	s       *scenario
	seconds float64
	dir     string
	profile string
	client  *contract.Client
	sync    map[int64]float64
	// killedAt is when a worker was killed.
	killedAt time.Time
	// emitted is what the sources have emitted, asked how many checkpoints were asked for, of a job that takes turns.
	emitted atomic.Int64
	asked   int
	out     result
}

// run measures once.
func (m *measurement) run(ctx context.Context) (result, error) {
	if m.s.bare {
		stop, err := startProfile(m.profile)
		if err != nil {
			return result{}, err
		}
		defer stop()
		used := coresUsed()
		r, err := bareLoop(m.s.keys, m.duration())
		r.Cores = used()
		return r, err
	}
	if m.s.text || m.s.json {
		return m.bounded(ctx)
	}
	if err := m.job(ctx, nil, m.profile); err != nil {
		return result{}, err
	}
	return m.out, nil
}

func (m *measurement) duration() time.Duration {
	return time.Duration(m.seconds * float64(time.Second))
}

// bounded reads the input once to see how much of it fills the wanted time, and then that much; once more if that was
// much too short.
func (m *measurement) bounded(ctx context.Context) (result, error) {
	in, err := newInput(ctx, m.s, filepath.Join(m.dir, "input"))
	if err != nil {
		return result{}, err
	}
	copies := int64(1)
	for try := range tries {
		files, err := in.copied(filepath.Join(m.dir, "input", strconv.Itoa(try)), copies)
		if err != nil {
			return result{}, err
		}
		profile := ""
		if try > 0 {
			profile = m.profile
		}
		m.out = result{}
		if err := m.job(ctx, files, profile); err != nil {
			return result{}, err
		}
		missing := m.seconds / m.out.Seconds
		if try > 0 && missing < longEnough {
			break
		}
		copies = max(2, int64(float64(copies)*missing*longEnough))
	}
	return m.out, nil
}

// job runs the job and fills in the result.
func (m *measurement) job(ctx context.Context, in *input, profile string) error {
	state, err := os.MkdirTemp(m.dir, "state-")
	if err != nil {
		return fmt.Errorf("making the directory for snapshots: %w", err)
	}
	path := ""
	if in != nil {
		path = in.dir
	}
	o, err := m.options(ctx, state, path)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	o.Signals = signals
	m.sync = map[int64]float64{}
	limit := startTimeout + patience*m.duration()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the job did not end within %v", limit))
	defer cancel()
	ended := make(chan error, 1)
	stopProfile, err := startProfile(profile)
	if err != nil {
		return err
	}
	used, collected := coresUsed(), collectorShare()
	go func() { ended <- program.RunLocal(ctx, o) }()
	switch {
	case m.s.recovery:
		err = m.killAndWatch(ctx, signals, ended)
	case m.s.turns > 0:
		err = m.takeTurns(ctx, signals, ended)
	default:
		err = m.watch(ctx, in, signals, ended)
	}
	stopProfile()
	m.out.Cores, m.out.GCShare = used(), collected()
	if err != nil {
		return err
	}
	return m.conclude(ctx, state, in)
}

func (m *measurement) options(ctx context.Context, state, input string) (program.LocalOptions, error) {
	api, err := freeAddress(ctx)
	if err != nil {
		return program.LocalOptions{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return program.LocalOptions{}, fmt.Errorf("finding this program, to start workers with: %w", err)
	}
	o := program.LocalOptions{
		Job: m.s.config(state, input), Build: build, Workers: m.s.workers, WorkerCommand: []string{self, "worker"}, API: api,
		Out: io.Discard, Err: os.Stderr, Version: program.Version(), Log: program.PlainLogger(os.Stderr, 0),
	}
	if m.s.turns > 0 {
		o.Build = func(cfg contract.JobConfig) (*graph.Graph, error) { return buildCount(cfg, m.s.keys, &m.emitted) }
	}
	var secure *tls.Config
	if m.s.mtls {
		o.TLSDir = filepath.Join(m.dir, "tls")
		if err := transport.GenerateCerts(o.TLSDir, []string{"127.0.0.1", "localhost"}); err != nil {
			return o, err
		}
		if secure, err = transport.CertFiles(o.TLSDir, "client").Client(transport.RoleCoordinator); err != nil {
			return o, err
		}
	}
	m.client, err = contract.NewClient(api, contract.ClientOptions{TLS: secure, Timeout: requestTimeout})
	return o, err
}

// freeAddress returns an address that nothing listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a port for the control API: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// watch follows the job to its end: it is stopped after the wanted time, or once it has read all lines.
func (m *measurement) watch(ctx context.Context, in *input, signals chan<- os.Signal, ended <-chan error) error {
	defer m.client.Close()
	if err := m.started(ctx, ended); err != nil {
		return err
	}
	var stop <-chan time.Time
	every := pollEvery
	if in == nil {
		t := time.NewTimer(m.duration())
		defer t.Stop()
		stop = t.C
	} else {
		every = pollInput
	}
	poll := time.NewTicker(every)
	defer poll.Stop()
	stopped := false
	for {
		select {
		case err := <-ended:
			return endedEarly(err)
		case <-poll.C:
		case <-stop:
			stopped = true
		}
		if err := m.look(ctx); err != nil {
			return err
		}
		if in != nil {
			s, err := m.client.Job(ctx)
			if err != nil {
				return fmt.Errorf("asking how far the job is: %w", err)
			}
			stopped = s.RecordsIn >= in.lines*in.copies
		}
		if stopped {
			signals <- os.Interrupt
			return m.end(ctx, ended)
		}
	}
}

// endedEarly is what is wrong when a job ends, with err, that was to go on.
func endedEarly(err error) error {
	return errors.Join(errors.New("the job ended before it was told to"), err)
}

// end waits for the end of a job that was told to stop.
func (m *measurement) end(ctx context.Context, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// started waits until all tasks run, or the job has ended already.
func (m *measurement) started(ctx context.Context, ended <-chan error) error {
	for {
		s, err := m.client.Job(ctx)
		if err == nil && (s.State == contract.JobRunning || s.State.Ended()) {
			return nil
		}
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
			return errors.New("the job ended before it was seen to run")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(beforeStart):
		}
	}
}

// look gathers what the checkpoints cost.
func (m *measurement) look(ctx context.Context) error {
	r, err := m.client.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("asking for the checkpoints: %w", err)
	}
	m.out.Checkpoints = r.Completed
	for _, c := range r.Recent {
		if c.State == "Completed" && c.Kind == "Checkpoint" {
			m.sync[c.ID] = float64(c.SyncMicros) / 1e3
			m.out.StateMiB = max(m.out.StateMiB, float64(c.SizeBytes)/mebi)
		}
	}
	if r.Failed > 0 {
		return fmt.Errorf("%d checkpoints failed: %+v", r.Failed, r.Recent)
	}
	if m.s.memory() {
		return m.lookAtMemory()
	}
	return nil
}

func (m *measurement) lookAtMemory() error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("reading how much memory this process has: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			m.out.RSSMiB = kib / 1024
		case "VmHWM:":
			m.out.PeakMiB = kib / 1024
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.out.HeapMiB = float64(stats.HeapInuse) / mebi
	return nil
}

// conclude reads the last snapshot back, checks it, and works out the rate.
func (m *measurement) conclude(ctx context.Context, state string, in *input) error {
	r, err := openLast(ctx, state)
	if err != nil {
		return err
	}
	defer r.close()
	all, err := m.s.check(ctx, r, in)
	if err != nil {
		return fmt.Errorf("checking the result of %s: %w", m.s.name, err)
	}
	if m.s.recovery {
		return m.recovered(r)
	}
	all.fill(&m.out)
	if len(m.sync) > 0 {
		var syncs []float64
		for _, v := range m.sync {
			syncs = append(syncs, v)
		}
		m.out.SyncMedian, m.out.SyncMax = median(syncs), slices.Max(syncs)
	}
	return nil
}

// fill sets records, time and rate.
func (m mark) fill(r *result) {
	r.Records = m.Rows
	if m.Rows > 0 {
		r.Seconds = float64(m.End-m.Start) / 1e9
		r.Rate = float64(m.Rows) / r.Seconds
	}
}

// coresUsed returns a function that says how many cores this process and the workers that it started, and that have
// ended, kept busy since.
func coresUsed() func() float64 {
	begin, before := time.Now(), cpuTime()
	return func() float64 { return (cpuTime() - before).Seconds() / time.Since(begin).Seconds() }
}

// collectorShare returns a function that says which share of its processor time this process spent on garbage collection since.
func collectorShare() func() float64 {
	read := func() (collector, all float64) {
		s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
		runtime.GC() // the counts are those of the last collection
		metrics.Read(s)
		return s[0].Value.Float64(), s[1].Value.Float64() - s[2].Value.Float64()
	}
	collector, all := read()
	return func() float64 {
		c, a := read()
		if a <= all {
			return 0
		}
		return (c - collector) / (a - all)
	}
}

func cpuTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// startProfile writes a CPU profile until the returned function is called.
func startProfile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating the CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the CPU profile: %w", err), f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}
