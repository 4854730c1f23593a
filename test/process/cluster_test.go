// SPDX-License-Identifier: Apache-2.0

// Package process_test runs jobs as real processes, kills and freezes them, and judges the visible output from outside.
package process_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/examples/ledger/checker"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
	"github.com/weir-stream/weir/runtime/transport"
)

// stepTimeout bounds every wait; a step takes a second or two.
const stepTimeout = 3 * time.Minute

// promptly is how long a process may take to end when it is told to: half of what a kubelet gives it, on a machine that is busy.
const promptly = 15 * time.Second

var seed = flag.Uint64("seed", 0, "seed of the random choices; 0 for a new one")

// The binaries under test: the ledger is a program of the SDK that is coordinator and worker, weir the command line.
var ledger, weir string

func TestMain(m *testing.M) {
	if os.Getenv(programMode) != "" {
		runProgram()
	}
	if os.Getenv(regionsMode) != "" {
		runRegions()
	}
	if os.Getenv(pressureMode) != "" {
		runPressure()
	}
	if os.Getenv(growthMode) != "" {
		runGrowth()
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "weir-process-")
	if err != nil {
		panic(err)
	}
	ledger, weir = filepath.Join(dir, "ledger"), filepath.Join(dir, "weir")
	if out, err := exec.Command("go", "build", "-o", dir, "../../examples/ledger", "../../cmd/weir").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building the programs: %v\n%s", err, out))
	}
	m.Run() // its code is the exit code of the process
	_ = os.RemoveAll(dir)
}

// cluster is a job that runs as processes.
type cluster struct {
	t   *testing.T
	rnd *rand.Rand
	dir string
	env []string
	// binary is the program of the job: the ledger, unless another one is set.
	binary string
	// tls is the directory with certificates, or empty.
	tls string
	cfg contract.JobConfig
	// output is where the sink writes, a URL for package open.
	output string

	control, api string
	client       *contract.Client
	processes    []*process
	names        int
}

// process is one process of the job. It ends with the test.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *lockedBuffer
	ended chan struct{}
	err   error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// tail is the end of what was written.
func (l *lockedBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	return s[max(0, len(s)-4000):]
}

// newCluster prepares a job over a directory of its own; change makes it another.
func newCluster(t *testing.T, change func(*cluster)) *cluster {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	dir := t.TempDir()
	c := &cluster{t: t, rnd: rand.New(rand.NewPCG(s, 1)), dir: dir, output: filepath.Join(dir, "out")}
	c.cfg = contract.JobConfig{
		Namespace: "test", Name: "ledger", Parallelism: 2,
		Checkpointing: &contract.Checkpointing{Interval: contract.Duration(200 * time.Millisecond), RetentionCount: 2, TolerableFailures: 1000},
		Restart:       contract.Restart{FixedDelay: &contract.FixedDelay{Delay: contract.Duration(100 * time.Millisecond)}},
		Storage:       &contract.Storage{Volume: &contract.Volume{Path: filepath.Join(dir, "state")}},
	}
	c.control, c.api = freeAddress(t), freeAddress(t)
	if change != nil {
		change(c)
	}
	c.env = append(os.Environ(), append(c.env, "LEDGER_OUT="+c.output, "LEDGER_RATE=4000", "LEDGER_KEYS=50")...)
	t.Cleanup(c.end)
	return c
}

// withTLS makes certificates for the job.
func (c *cluster) withTLS() {
	c.tls = filepath.Join(c.dir, "certs")
	if err := transport.GenerateCerts(c.tls, []string{"127.0.0.1"}); err != nil {
		c.t.Fatal(err)
	}
}

// nextPort is above the last port that freeAddress gave. It starts somewhere else in every process, below the ports that the
// kernel gives to connections: nobody takes the port between its choice and its use.
var nextPort atomic.Int64

func init() { nextPort.Store(int64(os.Getpid()%180) * 100) }

// freeAddress is an address that nobody listens on, and nobody will but who asked.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12_000+nextPort.Add(1)%18_000)
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no free port between 12000 and 30000")
	return ""
}

// start runs the binary.
func (c *cluster) start(name string, args ...string) *process {
	c.t.Helper()
	if c.tls != "" {
		args = append(args, "--tls", c.tls)
	}
	p := &process{name: name, cmd: exec.Command(cmp.Or(c.binary, ledger), args...), log: &lockedBuffer{}, ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = c.env, p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	c.processes = append(c.processes, p)
	return p
}

// coordinator starts a coordinator with the configuration as it is now.
func (c *cluster) coordinator(grant int, flags ...string) *process {
	c.t.Helper()
	c.names++
	file := filepath.Join(c.dir, fmt.Sprintf("job-%d.json", c.names))
	b, err := json.Marshal(c.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		c.t.Fatal(err)
	}
	o := contract.ClientOptions{}
	if c.tls != "" {
		if o.TLS, err = transport.CertFiles(c.tls, "client").Client(transport.RoleCoordinator); err != nil {
			c.t.Fatal(err)
		}
	}
	if c.client, err = contract.NewClient(c.api, o); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.client.Close)
	args := []string{"coordinator", "--job", file, "--listen", c.control, "--api", c.api, "--grant", fmt.Sprint(grant)}
	return c.start(fmt.Sprintf("coordinator-%d", c.names), append(args, flags...)...)
}

// workers starts so many workers with a slot each.
func (c *cluster) workers(n int) []*process {
	c.t.Helper()
	var ps []*process
	for range n {
		c.names++
		name := fmt.Sprintf("worker-%d", c.names)
		ps = append(ps, c.start(name, "worker", "--coordinator", c.control, "--name", name))
	}
	return ps
}

// signal sends a signal to a process by its pid.
func (c *cluster) signal(p *process, s syscall.Signal) {
	c.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		c.t.Fatalf("sending %v to %s: %v", s, p.name, err)
	}
}

// kill ends a process the hard way.
func (c *cluster) kill(p *process) {
	c.t.Helper()
	c.signal(p, syscall.SIGKILL)
	<-p.ended
}

// end kills whatever still runs, and shows the logs of a test that failed.
func (c *cluster) end() {
	for _, p := range c.processes {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if c.t.Failed() {
			c.t.Logf("%s (%v):\n%s", p.name, p.err, p.log.tail())
		}
	}
}

// until polls the status of the job.
func (c *cluster) until(what string, ready func(*contract.JobStatus) bool) *contract.JobStatus {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), stepTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last *contract.JobStatus
	var lastErr error
	for {
		s, err := c.client.Job(ctx)
		if err == nil {
			if last = s; ready(s) {
				return s
			}
		} else {
			lastErr = err
		}
		select {
		case <-ctx.Done():
			state := "no status"
			if last != nil {
				state = fmt.Sprintf("%s %q, %d restarts, last checkpoint %+v", last.State, last.Message, last.Restarts, last.LastCheckpoint)
			}
			c.t.Fatalf("waiting for %s: %v (%s; last error %v)", what, ctx.Err(), state, lastErr)
		case <-tick.C:
		}
	}
}

// progress waits until the job runs and has completed a checkpoint after id, and returns its id.
func (c *cluster) progress(after int64) int64 {
	c.t.Helper()
	s := c.until(fmt.Sprintf("a checkpoint after %d", after), func(s *contract.JobStatus) bool {
		return s.State == contract.JobRunning && s.LastCheckpoint != nil && s.LastCheckpoint.ID > after
	})
	return s.LastCheckpoint.ID
}

// restarted waits until the job runs again after so many restarts.
func (c *cluster) restarted(restarts int64) {
	c.t.Helper()
	c.until(fmt.Sprintf("restart %d", restarts), func(s *contract.JobStatus) bool {
		return s.State == contract.JobRunning && s.Restarts >= restarts
	})
}

// stop stops the job with a savepoint, waits until no process of the job is left, and returns the savepoint's path.
func (c *cluster) stop(coordinator *process) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), stepTimeout)
	defer cancel()
	c.names++
	op, err := c.client.Stop(ctx, contract.StopRequest{OperationID: fmt.Sprintf("stop-%d", c.names)})
	if err == nil {
		op, err = c.client.WaitOperation(ctx, op.ID)
	}
	if err != nil {
		c.t.Fatalf("stopping the job: %v", err)
	}
	if op.Path == "" || op.Error != "" {
		c.t.Fatalf("stopping the job: %+v", op)
	}
	c.ended(coordinator)
	c.allEnded()
	return op.Path
}

// ended waits for the end of a process.
func (c *cluster) ended(p *process) {
	c.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(stepTimeout):
		c.t.Fatalf("%s doesn't end:\n%s", p.name, p.log.tail())
	}
}

// judge reads the visible output and the history of the head.
func (c *cluster) judge() {
	c.t.Helper()
	c.judgeKeys(50)
}

// judgeKeys is judge for output of so many keys.
func (c *cluster) judgeKeys(keys int) {
	c.t.Helper()
	if err := c.judgeContains(keys).Err(); err != nil {
		c.t.Error(err)
	}
}

// judgeContains is judgeKeys for a job that may do something twice: nothing may be missing.
func (c *cluster) judgeContains(keys int) *checker.Report {
	c.t.Helper()
	out := c.openStore(c.output)
	r, err := checker.Output(c.t.Context(), out)
	if err != nil {
		c.t.Fatal(err)
	}
	if r.Missing > 0 {
		c.t.Errorf("%d numbers are missing: %v", r.Missing, r.Err())
	}
	if r.Keys != keys {
		c.t.Errorf("the output has %d keys, want %d", r.Keys, keys)
	}
	state := filepath.Join(c.dir, "state")
	if s3 := c.cfg.Storage.S3; s3 != nil {
		state = "s3://" + s3.Bucket + "/" + s3.Prefix
	}
	starts, err := checker.History(c.t.Context(), c.openStore(state), "")
	if err != nil {
		c.t.Error(err)
	}
	c.t.Logf("%s, %d of them more than once, %d starts", r, r.Repeated, starts)
	return r
}

func (c *cluster) openStore(url string) storage.Store {
	c.t.Helper()
	s, err := open.URL(c.t.Context(), url)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = s.Close() })
	return s
}

// names reports whether the text names all the parts.
func names(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}
