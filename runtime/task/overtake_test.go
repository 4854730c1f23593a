// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/transport"
)

// fileMap keeps files in memory.
type fileMap map[string][]byte

// WriteFile implements [state.FileWriter].
func (m fileMap) WriteFile(_ context.Context, data []byte) (state.File, error) {
	f := state.File{Path: fmt.Sprintf("file-%d", len(m)+1), Size: int64(len(data))}
	m[f.Path] = append([]byte{}, data...)
	return f, nil
}

// ReadFile implements [state.FileReader].
func (m fileMap) ReadFile(_ context.Context, f state.File, off, n int64) ([]byte, error) {
	b := m[f.Path]
	if off+n > int64(len(b)) {
		return nil, errors.New("short file")
	}
	return b[off : off+n], nil
}

// overtaker is a harness whose inputs come through a gate.
type overtaker struct {
	*harness
	gate  *transport.Gate
	in    []transport.Writer
	files fileMap
	now   time.Time
	acked map[int64]map[string]snapshot.SubtaskState
	costs map[int64]protocol.AckMetrics
	// memory is what a task that is restored counts in; nil for nothing.
	memory *state.Account
}

// Ack keeps what is acknowledged.
func (o *overtaker) Ack(id int64, ops map[string]snapshot.SubtaskState, m protocol.AckMetrics) {
	o.acked[id], o.costs[id] = ops, m
	o.harness.Ack(id, ops, m)
}

func startOvertaker(t *testing.T, n int64, change func(*task.Options)) *overtaker {
	t.Helper()
	o := &overtaker{
		gate: transport.NewGate(2, 0, transport.NewSignal()), files: fileMap{}, now: time.Unix(100, 0),
		acked: map[int64]map[string]snapshot.SubtaskState{}, costs: map[int64]protocol.AckMetrics{},
	}
	for ch := range 2 {
		o.in = append(o.in, o.gate.Writer(ch, transport.NewSignal()))
	}
	o.harness = start(t, n, func(opts *task.Options) {
		opts.Inputs, opts.Env, opts.Reader = o.gate, o, o.files
		opts.Now = func() time.Time { return o.now }
		if change != nil {
			change(opts)
		}
		o.harness = opts.Writers[0][0].(*harness)
	})
	return o
}

// step lets the core do one thing; false if there is none.
func (o *overtaker) step() bool {
	o.t.Helper()
	o.must(o.core.HandleArrivals())
	switch {
	case o.core.Paused():
		o.must(o.core.Resume())
		return !o.core.Paused()
	case o.core.Replaying():
		o.must(o.core.Replay())
		return true
	case o.core.Readable():
		ch, e, ok := o.gate.Next()
		if ok {
			o.must(o.core.HandleElement(ch, e))
		}
		return ok
	}
	return false
}

// run lets the core do all there is to do, then flushes.
func (o *overtaker) run() {
	o.t.Helper()
	for o.step() {
	}
	o.core.Flush()
}

// write runs the asynchronous part of a snapshot.
func (o *overtaker) write(id int64) {
	o.t.Helper()
	r, err := o.async[id](o.t.Context(), o.files)
	o.core.AsyncDone(id, r, err)
}

func unaligned(id int64, timeout time.Duration) record.Element {
	return record.OfBarrier(record.Barrier{Checkpoint: id, Unaligned: true, AlignmentTimeout: timeout})
}

// restored starts a task with the state that snapshot id of o holds.
func (o *overtaker) restored(id int64) *overtaker {
	o.t.Helper()
	r := startOvertaker(o.t, 1, func(opts *task.Options) {
		opts.Reader, opts.Memory = o.files, o.memory
		ops := map[string]protocol.OperatorRestore{}
		for name, s := range o.acked[id] {
			ops[name] = protocol.OperatorRestore{Lists: s.Lists, Channels: s.Channels}
		}
		opts.Deployment, opts.RestoredFrom = protocol.TaskDeployment{Operators: ops}, id
	})
	r.files = o.files
	r.take()
	return r
}

func TestCore_UnalignedBarrierOvertakes(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	o.in[0].Push(batch(1, 2))
	o.in[0].Push(batch(3))
	o.in[0].Push(unaligned(1, 0))
	o.in[1].Push(batch(10))
	o.must(o.core.HandleArrivals())
	o.want("prepare 1; barrier 1; snapshot 1")
	o.in[1].Push(batch(11, 12))
	o.in[1].Push(record.OfWatermark(5))
	o.in[1].Push(unaligned(1, 0))
	o.in[1].Push(batch(13))
	o.must(o.core.HandleArrivals())
	o.want("async 1")
	o.run()
	o.want("rows 7") // each of them is processed in this run
	o.write(1)
	o.want("ack 1")
	var got []string
	for _, c := range o.acked[1]["mid"].Channels {
		got = append(got, fmt.Sprintf("%s/%d %d rows of %s", c.From, c.FromSubtask, c.Rows, c.Type))
	}
	if diff := cmp.Diff([]string{"in/0 3 rows of rows[int64]", "in/1 3 rows of rows[int64]"}, got); diff != "" {
		t.Errorf("channel state (-want +got):\n%s", diff)
	}
	if m := o.costs[1]; m.ChannelBytes == 0 || m.Bytes != m.ChannelBytes {
		t.Errorf("%d bytes of channel state of %d bytes", m.ChannelBytes, m.Bytes)
	} else {
		sum := int64(0)
		for _, c := range m.Channels {
			sum += c.OvertakenBytes
		}
		if sum != m.ChannelBytes {
			t.Errorf("the channels hold %d bytes of channel state of %d: %+v", sum, m.ChannelBytes, m.Channels)
		}
	}
	if len(o.files) != 1 {
		t.Errorf("%d files, want one for the task", len(o.files))
	}

	r := o.restored(1)
	r.in[0].Push(batch(100))
	r.run()
	if diff := cmp.Diff([]int64{1, 2, 3, 10, 11, 12, 100}, r.rows); diff != "" {
		t.Errorf("rows after the restore (-want +got):\n%s", diff)
	}
}

func TestCore_UnalignedBarrierDoesNotWaitForRoom(t *testing.T) {
	t.Parallel()
	const times = 10 * record.TargetRows
	o := startOvertaker(t, times, nil)
	o.in[0].Push(batch(1))
	o.in[0].Push(batch(2))
	o.room = false
	o.run()
	if !o.core.Paused() {
		t.Fatal("not paused without room")
	}
	o.take()
	o.in[0].Push(unaligned(1, 0))
	o.in[1].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	if got := o.take(); !strings.HasSuffix(got, "prepare 1; barrier 1; snapshot 1; async 1") {
		t.Errorf("got %s", got)
	}
	if len(o.rows) != times {
		t.Errorf("%d rows went out before the barrier, want those of the row in work, %d", len(o.rows), times)
	}
	o.write(1)
	if c := o.acked[1]["mid"].Channels; len(c) != 1 || c[0].Rows != 1 {
		t.Errorf("channel state %v, want the row that was queued", c)
	}
	o.run()
	if !o.core.Paused() || len(o.rows) != times {
		t.Errorf("after the snapshot the task must wait for room again; %d rows went out", len(o.rows))
	}
}

func TestCore_OverdraftIsBounded(t *testing.T) {
	t.Parallel()
	const times = 100 * record.TargetRows
	o := startOvertaker(t, times, nil)
	o.in[0].Push(batch(1))
	o.room = false
	o.run()
	o.in[0].Push(unaligned(1, 0))
	o.in[1].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	if len(o.rows) > 66*record.TargetRows || !o.core.Paused() {
		t.Fatalf("%d rows went out without room, paused: %t", len(o.rows), o.core.Paused())
	}
	o.room = true
	o.take()
	o.run()
	if got := o.take(); len(o.rows) != times || !strings.HasSuffix(got, "prepare 1; barrier 1; snapshot 1; async 1") {
		t.Errorf("with room: %d rows, and %s", len(o.rows), got)
	}
}

func TestCore_AlignedBarrierWaitsForRoom(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 10*record.TargetRows, nil)
	o.in[0].Push(batch(1))
	o.room = false
	o.run()
	o.take()
	o.in[0].Push(barrierOf(1, record.StopNone))
	o.in[1].Push(barrierOf(1, record.StopNone))
	o.run()
	o.want("")
	o.room = true
	o.run()
	if got := o.take(); !strings.HasSuffix(got, "snapshot 1; async 1") {
		t.Errorf("with room: %s", got)
	}
}

func TestCore_AbortedCaptureIsReleased(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	held := batch(1, 2)
	held.Batch.Retain(1) // so that nobody else gets it
	o.in[0].Push(held)
	o.in[0].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	o.want("prepare 1; barrier 1; snapshot 1")
	o.must(o.core.Aborted(1))
	o.want("aborted 1; notified 1")
	// The next one comes while barriers of the first are still queued.
	o.in[0].Push(batch(3))
	o.in[0].Push(unaligned(2, 0))
	o.must(o.core.HandleArrivals())
	o.want("decline 1 Subsumed <nil>; cancel-barrier 1; prepare 2; barrier 2; snapshot 2")
	o.in[1].Push(unaligned(1, 0))
	o.in[1].Push(batch(4))
	o.in[1].Push(unaligned(2, 0))
	o.must(o.core.HandleArrivals())
	o.want("async 2")
	o.run()
	o.write(2)
	o.want("rows 4; ack 2")
	r := o.restored(2)
	r.run()
	if diff := cmp.Diff([]int64{1, 2, 3, 4}, r.rows); diff != "" {
		t.Errorf("rows after the restore (-want +got):\n%s", diff)
	}
	if !held.Batch.(*record.Rows[int64]).Drop() {
		t.Error("the batch has other holders left")
	}
}

func TestCore_CancelBarrierEndsTheCapture(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	held := batch(1)
	held.Batch.Retain(1) // so that nobody else gets it
	o.in[0].Push(held)
	o.in[0].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	o.want("prepare 1; barrier 1; snapshot 1")
	o.in[1].Push(record.OfCancelBarrier(1))
	o.must(o.core.HandleArrivals())
	o.want("decline 1 CancelBarrier <nil>; cancel-barrier 1")
	o.run()
	if !held.Batch.(*record.Rows[int64]).Drop() {
		t.Error("the batch has other holders left")
	}
}

func TestCore_CancelBarrierBeforeThePausedSnapshot(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 100*record.TargetRows, nil)
	o.in[0].Push(batch(1))
	o.room = false
	o.run()
	o.in[0].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	o.take()
	o.in[1].Push(record.OfCancelBarrier(1))
	o.must(o.core.HandleArrivals())
	o.want("decline 1 CancelBarrier <nil>")
	o.room = true
	o.run()
	if got := o.take(); !strings.HasSuffix(got, "prepare 1; cancel-barrier 1") {
		t.Errorf("got %s", got)
	}
}

// fullBatch has no room for more rows: they aren't gathered with others.
func fullBatch(vs ...int64) record.Element {
	b := &record.Rows[int64]{Values: vs}
	b.Reset()
	return record.OfBatch(b)
}

func TestCore_SnapshotDuringReplay(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	for v := range int64(3) {
		o.in[0].Push(fullBatch(v))
		o.in[1].Push(fullBatch(10 + v))
	}
	o.in[0].Push(unaligned(1, 0))
	o.in[1].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	o.write(1)

	r := o.restored(1)
	if r.core.Readable() {
		t.Error("new input may be read before the replay is over")
	}
	r.must(r.core.Replay())
	r.must(r.core.Replay())
	r.in[0].Push(batch(100))
	r.in[0].Push(unaligned(2, 0))
	r.in[1].Push(unaligned(2, 0))
	r.must(r.core.HandleArrivals())
	r.want("prepare 2; rows 2; barrier 2; snapshot 2; async 2")
	r.run()
	r.write(2)
	if diff := cmp.Diff([]int64{0, 1, 2, 10, 11, 12, 100}, r.rows); diff != "" {
		t.Errorf("rows of the restored run (-want +got):\n%s", diff)
	}

	again := r.restored(2)
	again.in[0].Push(barrierOf(3, record.StopNone))
	again.in[1].Push(barrierOf(3, record.StopNone))
	again.must(again.core.HandleArrivals())
	again.want("") // an aligned barrier waits for the end of the replay
	again.run()
	again.want("prepare 3; rows 5; barrier 3; snapshot 3; async 3")
	if diff := cmp.Diff([]int64{2, 10, 11, 12, 100}, again.rows); diff != "" {
		t.Errorf("what is left after the second restore (-want +got):\n%s", diff)
	}
}

func TestCore_AlignsForTheTimeoutThenOvertakes(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	o.in[0].Push(unaligned(1, time.Second))
	o.in[0].Push(batch(2))
	o.run()
	o.want("")
	if due := o.core.Due(); !due.Equal(o.now.Add(time.Second)) {
		t.Errorf("due at %s, want a second after the barrier arrived", due)
	}
	o.in[1].Push(batch(1))
	o.now = o.now.Add(time.Second)
	o.must(o.core.HandleDue(o.now))
	o.want("prepare 1; barrier 1; snapshot 1")
	o.in[1].Push(unaligned(1, time.Second))
	o.run()
	o.want("async 1; rows 2")
	o.write(1)
	if c := o.acked[1]["mid"].Channels; len(c) != 1 || c[0].FromSubtask != 1 || c[0].Rows != 1 {
		t.Errorf("channel state %v, want the row before the barrier of channel 1", c)
	}
	if m := o.costs[1]; m.Alignment != time.Second {
		t.Errorf("alignment took %s, want 1s", m.Alignment)
	}
	// In time it is a snapshot like any other.
	o.take()
	o.in[0].Push(unaligned(2, time.Second))
	o.in[1].Push(unaligned(2, time.Second))
	o.run()
	o.want("prepare 2; barrier 2; snapshot 2; async 2")
	o.write(2)
	if c := o.acked[2]["mid"].Channels; len(c) != 0 {
		t.Errorf("an aligned snapshot has channel state %v", c)
	}
}

// Rows that go on coming while a barrier is late must not fill the memory.
func TestCore_CaptureIsBounded(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	o.in[0].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	o.want("prepare 1; barrier 1; snapshot 1")
	large := ints.Get()
	large.Values = make([]int64, 1<<20)
	large.Retain(1) // so that nobody else gets it
	for range 33 {
		large.Retain(1)
		o.in[1].Push(record.OfBatch(large))
	}
	large.Release()
	o.gate.Close() // nobody reads them
	if !large.Drop() {
		t.Error("the capture holds on to what it took")
	}
}

func TestCore_SnapshotWithTooMuchInFlightIsDeclined(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	o.in[0].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	large := ints.Get()
	large.Values = make([]int64, 1<<20)
	for range 33 {
		large.Retain(1)
		o.in[1].Push(record.OfBatch(large))
	}
	o.in[1].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	o.want("prepare 1; barrier 1; snapshot 1; async 1")
	o.write(1)
	if got := o.take(); !strings.HasPrefix(got, "decline 1 Async") || !strings.Contains(got, "more than 268435456 bytes") {
		t.Errorf("got %s", got)
	}
}

// What is in flight is counted beside the state, and declines the snapshot where the budget has no room for it. The state doesn't fail for it.
func TestCore_WhatIsInFlightIsWithinTheMemoryBudget(t *testing.T) {
	t.Parallel()
	account := state.NewAccount(1 << 20)
	o := startOvertaker(t, 1, func(opts *task.Options) { opts.Memory = account })
	push := func(id int64, rows int) {
		t.Helper()
		o.in[0].Push(unaligned(id, 0))
		o.must(o.core.HandleArrivals())
		b := ints.Get()
		b.Values = append(b.Values, make([]int64, rows)...)
		o.in[1].Push(record.OfBatch(b))
		o.in[1].Push(unaligned(id, 0))
		o.must(o.core.HandleArrivals())
	}
	before := account.Used()
	push(1, 100_000)
	if got := account.Used() - before; got < 800_000 {
		t.Errorf("%d bytes are counted while 100 000 rows are held", got)
	}
	o.take()
	o.write(1)
	if got := o.take(); !strings.HasPrefix(got, "ack 1") {
		t.Errorf("got %s, want it acknowledged", got)
	}
	if got := account.Used(); got != before {
		t.Errorf("%d bytes are counted when all is written, %d before", got, before)
	}
	o.run()
	o.take()
	push(2, 200_000)
	if got := account.Used(); got != before {
		t.Errorf("%d bytes are counted for what was let go, %d before", got, before)
	}
	o.take()
	o.write(2)
	if got := o.take(); !strings.HasPrefix(got, "decline 2 Async") || !strings.Contains(got, "memory budget of 1048576 bytes") {
		t.Errorf("got %s, want it declined for the budget", got)
	}
	o.run()

	// A restore can't do without the rows: they are counted until they are processed, and until the end of a task that doesn't get that far.
	o.memory = account
	r := o.restored(1)
	if got := account.Used() - before; got < 800_000 {
		t.Errorf("%d bytes are counted while 100 000 rows are to be replayed", got)
	}
	r.run()
	if got := account.Used(); got != before {
		t.Errorf("%d bytes are counted after the replay, %d before", got, before)
	}
	r = o.restored(1)
	r.must(r.core.Close())
	if got := account.Used(); got != before {
		t.Errorf("%d bytes are counted after the end of the task, %d before", got, before)
	}
}

func TestCore_FrozenTaskDoesNotOvertake(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	o.in[0].Push(barrierOf(1, record.StopFreeze))
	o.in[1].Push(barrierOf(1, record.StopFreeze))
	o.run()
	o.take()
	o.in[0].Push(unaligned(2, 0))
	o.must(o.core.HandleArrivals())
	o.want("")
	o.must(o.core.Aborted(1))
	o.take()
	o.must(o.core.HandleArrivals())
	o.want("prepare 2; barrier 2; snapshot 2")
}

// slowToPrepare waits for room before each snapshot.
type slowToPrepare struct{ repeat }

func (s *slowToPrepare) PrepareSnapshot(b record.Barrier) (operator.Status, error) {
	s.add("prepare %d", b.Checkpoint)
	return s.Process(0, batch(0).Batch)
}

func TestCore_FrozenTaskIsNotDue(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, func(opts *task.Options) {
		j := opts.Writers[0][0].(*harness).journal
		opts.Vertex.Nodes[0].NewOperator = func() operator.Operator { return &slowToPrepare{repeat{journal: j, n: 2 * record.TargetRows}} }
	})
	o.room = false
	o.in[0].Push(barrierOf(1, record.StopFreeze))
	o.in[1].Push(barrierOf(1, record.StopFreeze))
	o.run()
	o.in[0].Push(unaligned(2, time.Second))
	o.run()
	o.room = true
	o.run()
	if !o.core.Frozen() {
		t.Fatal("not frozen")
	}
	if due := o.core.Due(); !due.IsZero() {
		t.Errorf("due at %s though the task is frozen: its loop would spin", due)
	}
	o.must(o.core.Aborted(1))
	if due := o.core.Due(); !due.Equal(o.now.Add(time.Second)) {
		t.Errorf("due at %s after the task was released", due)
	}
}

func TestCore_DamagedChannelStateIsFatal(t *testing.T) {
	t.Parallel()
	o := startOvertaker(t, 1, nil)
	o.in[0].Push(batch(1))
	o.in[0].Push(unaligned(1, 0))
	o.in[1].Push(unaligned(1, 0))
	o.must(o.core.HandleArrivals())
	o.write(1)
	for name, change := range map[string]func(*snapshot.ChannelState){
		"a damaged byte":  func(*snapshot.ChannelState) { o.files["file-1"][20] ^= 1 },
		"another type":    func(c *snapshot.ChannelState) { c.Type = "rows[string]" },
		"no such input":   func(c *snapshot.ChannelState) { c.From = "gone" },
		"another section": func(c *snapshot.ChannelState) { c.Length-- },
	} {
		broken := slices.Clone(o.acked[1]["mid"].Channels)
		change(&broken[0])
		err := openWith(t, o.files, broken)
		if _, fatal := errors.AsType[*task.FatalError](err); !fatal {
			t.Errorf("%s: got %v, want an error that a restart can't mend", name, err)
		}
	}
}

func openWith(t *testing.T, files fileMap, channels []snapshot.ChannelState) error {
	t.Helper()
	var opened error
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	core := task.New(optionsOf(t, h, func(o *task.Options) {
		o.Reader = files
		o.Deployment.Operators = map[string]protocol.OperatorRestore{"mid": {Channels: channels}}
	}))
	opened = core.Open(t.Context())
	h.must(core.Close())
	return opened
}

func TestCore_TellsWhatWaitedInBlockedChannels(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]time.Duration{"aligned": 0, "overtaken after a timeout": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOvertaker(t, 1, nil)
			b := record.Barrier{Checkpoint: 1, Unaligned: timeout > 0, AlignmentTimeout: timeout}
			o.in[0].Push(record.OfBarrier(b))
			o.run()
			o.in[0].Push(batch(1, 2, 3))
			o.in[0].Push(batch(4))
			o.in[1].Push(batch(9))
			o.now = o.now.Add(timeout)
			if timeout > 0 {
				o.must(o.core.HandleDue(o.now))
			}
			o.in[1].Push(record.OfBarrier(b))
			o.run()
			o.write(1)
			want, err := ints.AppendBatch(nil, batch(1, 2, 3).Batch)
			if err != nil {
				t.Fatal(err)
			}
			if got := o.costs[1].AlignmentBytes; got != int64(len(want))*4/3 {
				t.Errorf("%d bytes waited, want those of 4 rows, 3 of which take %d", got, len(want))
			}
			first := protocol.ChannelCost{Channel: in(0), Blocked: timeout, BlockedBytes: o.costs[1].AlignmentBytes}
			second := protocol.ChannelCost{Channel: in(1), Delay: timeout, OvertakenBytes: o.costs[1].ChannelBytes}
			byChannel := []protocol.ChannelCost{first, second}
			if timeout > 0 {
				byChannel = []protocol.ChannelCost{second, first} // the later barrier first
			}
			if diff := cmp.Diff(byChannel, o.costs[1].Channels); diff != "" {
				t.Errorf("channels (-want +got):\n%s", diff)
			}
		})
	}
}
