// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Options of a run.
type Options struct {
	Mutation Mutation
	// Trace keeps a readable account of what happened.
	Trace bool
	// OneClock makes the clocks of all processes the same.
	OneClock bool
}

// Result of a run.
type Result struct {
	Seed uint64
	// Err is what went wrong, nil for a clean run.
	Err error
	// Trace has a line for each thing that happened, if asked for.
	Trace []string
	// Steps, Checkpoints, Restores, Versions and Time tell how much happened.
	Steps, Checkpoints, Restores, Versions, Orphans int
	Time                                            time.Duration
	// Relaxed says that a user had to give the checkpoints more time.
	Relaxed bool
}

// maxSteps ends a run that goes round in circles.
const maxSteps = 2_000_000

// savepoint is a savepoint in its directory, and the outside of the job when it was taken.
type savepoint struct {
	dir string
	out *outside
}

// faultRates say how often something goes wrong; storage and commit are one in so many calls, crash one in so many effects.
type faultRates struct {
	storage, commit, crash int
	// between is the mean time between kills, pauses and breaks.
	between time.Duration
	until   time.Time
}

// world is one run.
type world struct {
	ctx      context.Context //nolint:containedctx // that of the run
	clock    *clock
	mutation Mutation
	scenario *scenario
	version  *version
	versions int
	store    *store
	calls    calls
	faults   faultRates
	skews    *skews

	slots, capacity      int
	stepTime, maxLatency time.Duration
	// replayTime is how long a task may take for a batch that was in flight before a restore.
	replayTime time.Duration

	incarnations, started int
	workers               []*worker
	pipes                 map[pipeKey]*pipe
	users                 *users
	// tap takes the messages of workers in tests without a coordinator.
	tap func(k *worker, m protocol.FromWorker)

	// line is the lineage of state that runs now, lines are all.
	line  *lineage
	lines []*lineage
	// savepoints are those that users were told of.
	savepoints []savepoint

	checkpoints int
	restores    int

	// outage is until when storage fails every call, slowed until when a task is held up over what was in flight before a restore.
	outage, slowed time.Time
	// relaxed is when a user gave the checkpoints more time.
	relaxed time.Time
	// split makes every operator a task of its own from now on.
	split bool

	// quietSince is since when no snapshot was in flight in quietAttempt.
	quietSince   time.Time
	quietAttempt protocol.Attempt

	keeper *keeper
	// rotten are the objects that were damaged.
	rotten map[string]bool
	// sweeps says that sweepers run beside the job, sweeping that one does now; pins that people pin checkpoints, of which pinsTried were tried.
	sweeps, sweeping, pins bool
	pinsTried              int
	// claimDeaths counts the coordinators that died over a claim.
	claimDeaths int
	// asides end what is done beside the job.
	asides []func()
	// trueBases are the bases of snapshots for which a mutation chose another one.
	trueBases map[int64]int64
	// orphans counts the objects that were left over.
	orphans int

	tracing bool
	trace   []string
	failure error
	done    bool
	// asked says that the job ended because going on needs the user's consent, refused that it did because it could not go back.
	asked, refused bool
	// finished counts the versions that processed all input.
	finished int
	// closing is the version that is being ended because it has processed all rows of its endless sources.
	closing *version
}

// Run runs one seed to its end.
func Run(ctx context.Context, seed uint64, o Options) (res Result) {
	w := newWorld(ctx, seed, o)
	defer func() {
		res = Result{
			Seed: seed, Err: w.failure, Trace: w.trace, Steps: w.clock.steps, Checkpoints: w.checkpoints, Restores: w.restores,
			Versions: w.versions, Orphans: w.orphans, Time: w.clock.now.Sub(start), Relaxed: !w.relaxed.IsZero(),
		}
	}()
	defer func() {
		if v := recover(); v != nil {
			w.failure = fmt.Errorf("panic: %v\n%s", v, stack())
		}
	}()
	w.run()
	return res
}

// run lets everything happen, to the end of the job and until all is looked at that is left.
func (w *world) run() {
	w.begin()
	for w.failure == nil && !w.done {
		if !w.clock.step() {
			w.failf("nothing happens any more, and the job hasn't ended")
			break
		}
		w.checkLimits()
	}
	w.settle()
	for _, stop := range w.asides {
		stop()
	}
}

// settle lets everything arrive that is under way at the end, and looks at what is left in storage.
func (w *world) settle() {
	end := w.clock.now.Add(settleTime)
	for w.failure == nil && w.clock.now.Before(end) && w.clock.step() {
	}
	w.dropOtherPins()
	if w.failure == nil && !w.scenario.volatile && len(w.rotten) == 0 {
		w.checkLeaks()
	}
	if w.failure == nil && !w.scenario.volatile && len(w.rotten) == 0 {
		w.sweep()
	}
}

func newWorld(ctx context.Context, seed uint64, o Options) *world {
	c := newClock(seed)
	w := &world{
		ctx: ctx, clock: c, mutation: o.Mutation, pipes: map[pipeKey]*pipe{}, tracing: o.Trace,
		trueBases: map[int64]int64{}, rotten: map[string]bool{}, keeper: &keeper{dirs: map[string]*custody{}, writers: map[string]*stateWriter{}},
	}
	w.skews = newSkews(seed, o.OneClock)
	w.store = newStore(ctx, func() time.Time { return c.now }, w.skews.draw(maxSkew))
	w.store.deleting = func(name string) {
		for _, l := range w.lines {
			l.checkDelete(name)
		}
	}
	w.users = &users{w: w, open: map[string]*request{}}
	w.scenario = newScenario(c.rnd)
	w.scenario.crowded = w.scenario.atLeastOnce && crowded(seed)
	if w.scenario.timed() {
		w.skews.worker = timedSkew
	}
	w.pins = pinned(seed) && !w.scenario.volatile && w.scenario.rots == ""
	w.sweeps = (swept(seed) || w.pins && seed%2 == 0) && !w.scenario.volatile && w.scenario.rots == ""
	w.startLineage("j", "")
	w.capacity = 1 + c.rnd.IntN(8)
	w.stepTime = c.between(200*time.Microsecond, 5*time.Millisecond)
	if w.scenario.alignment.Mode != "" && c.chance(2) {
		w.stepTime *= 4 // so that more is in flight
		w.replayTime = c.between(0, 400*time.Millisecond)
	}
	w.maxLatency = c.between(time.Millisecond, 20*time.Millisecond)
	w.faults = faultRates{
		storage: []int{0, 200, 40, 10}[c.rnd.IntN(4)], commit: []int{0, 0, 30, 10}[c.rnd.IntN(4)], crash: []int{0, 400, 100, 30}[c.rnd.IntN(4)],
		between: c.between(200*time.Millisecond, 3*time.Second), until: start.Add(c.between(time.Second, 8*time.Second)),
	}
	if w.scenario.volatile {
		w.faults.storage = 0
	}
	return w
}

// begin starts the first version and what makes trouble.
func (w *world) begin() {
	w.describe()
	w.nextVersion()
	w.scheduleTrouble()
	w.scheduleRot()
	w.users.schedule()
	w.scheduleSweeps()
	w.schedulePins()
	w.watch()
}

// faulty says whether things go wrong still.
func (w *world) faulty() bool { return w.clock.now.Before(w.faults.until) }

// scheduleVersion lets the next version start some time after the end of the present one.
func (w *world) scheduleVersion() {
	v := w.version
	v.gone = true
	w.clock.after(nil, w.clock.between(0, time.Second), func() {
		if w.version != v || w.done {
			return
		}
		if _, claim := w.line.origin(); w.line.claims && claim != snapshot.Claimed && w.deleted() {
			w.done = true // with its state went what it started from
			return
		}
		w.startEmpty()
		w.nextVersion()
	})
}

// deleted says whether the end of the present version took its state along. A savepoint that the job went back to, and has no newer state than, stays.
func (w *world) deleted() bool {
	f := w.line.head.Final
	if !w.scenario.deletes || f == nil || f.State != snapshot.FinalFinished && f.State != snapshot.FinalCanceled {
		return false
	}
	_, stays := w.line.head.Newest()
	return !stays || len(w.line.head.Checkpoints) > 0 // the latter should not be
}

// startEmpty makes a new beginning if the end of the present version took its state along.
func (w *world) startEmpty() {
	switch {
	case w.scenario.volatile:
		w.startLineage(fmt.Sprintf("v%d", w.versions), "")
	case w.deleted():
		if n := len(w.line.head.Checkpoints); n > 0 {
			w.failf("the end of job %s should have deleted its checkpoints, %d are left", w.line.id, n)
		}
		before := w.line.out.before
		w.line.begin()
		w.line.out.before = before
	}
}

// nextVersion starts the job, or starts it again at another parallelism under a higher grant.
func (w *world) nextVersion() {
	w.versions++
	v, err := w.scenario.version(w.clock.rnd, w.versions, !w.faulty(), w.split, w.line.out)
	if err != nil {
		w.failf("making version %d of the job: %v", w.versions, err)
		return
	}
	v.line, v.config.JobID, v.config.RestoreFrom = w.line, w.line.id, w.line.from
	if w.line.claims {
		v.config.RestoreMode = contract.Claim
	}
	v.config.AllowDrained = w.consent()
	v.target = w.rewind()
	v.config.RewindTo = v.target.path
	w.line.startedFrom = 0
	if n, ok := w.line.head.Newest(); ok {
		w.line.startedFrom = n.ID
	}
	old, last := w.workers, w.version
	w.workers = nil
	w.version = v
	linger := 2 * time.Second
	if last != nil && !last.gone {
		linger = 12 * time.Second
	}
	for _, k := range old {
		w.clock.after(nil, w.clock.between(0, linger), func() { k.kill("its version is over") })
	}
	n := 1 + w.clock.rnd.IntN(3)
	w.slots = (v.plan.Slots + n - 1) / n
	if w.tracing {
		w.tracef(nil, "version %d: %d slots in %d workers, %s", v.number, v.plan.Slots, n, describePlan(v.plan))
	}
	w.startCoordinator(v)
	for range n {
		w.startWorker()
	}
}

// exited hears of the end of an incarnation.
func (w *world) exited(c *coordinator, e job.Exit) {
	if c != w.version.leads {
		w.leftBehind(c)
		return
	}
	switch {
	case e.State == job.StateFinished && w.drained() && w.closing != w.version:
		w.scheduleVersion()
	case e.State == job.StateFinished && e.Err == nil:
		w.finish()
	case w.closing == w.version && ended(e):
		w.finish()
	case e.State == job.StateCanceled, ended(e) && w.stopped():
		w.scheduleVersion()
	case e.State == job.StateFailed && w.mixed(e.Err):
		w.split = true
		w.scheduleVersion()
	case e.State == job.StateFailed && w.version.limited && strings.Contains(e.Err.Error(), "not restarted"):
		w.scheduleVersion()
	case w.unconsented(e):
		w.scheduleVersion()
	case w.refusedRewind(c, e):
		w.scheduleVersion()
	case w.lostClaim(e):
		w.scheduleVersion()
	case w.rotted(e):
		w.done = true
	case e.State == job.StateFailed:
		w.failf("the job failed: %v", e.Err)
	default:
		w.tracef(nil, "the coordinator is started again")
		w.clock.after(nil, w.clock.between(0, time.Second), w.takeOver(c))
	}
}

// ended says whether the job came to its end, and not merely an incarnation that gave up, because storage didn't answer for example.
func ended(e job.Exit) bool { return e.Err == nil && e.State != job.StateFailed }

// leftBehind hears of the end of an incarnation that another one replaced, or whose version is not the present one. Its node may start
// it again.
func (w *world) leftBehind(c *coordinator) {
	v := c.version
	if v == w.version || v.leads != c || v.gone {
		return
	}
	w.clock.after(nil, w.clock.between(0, 2*time.Second), w.takeOver(c))
}

// mixed says whether a version can't be restored because it chains an operator that had finished with one that had not. The
// error says what helps, and the next version does that.
func (w *world) mixed(err error) bool {
	return err != nil && !w.split && strings.Contains(err.Error(), "disable chaining")
}

// takeOver starts another incarnation unless somebody did.
func (w *world) takeOver(c *coordinator) func() {
	return func() {
		switch {
		case c.version.leads != c || c.version.gone || w.done:
		case w.scenario.volatile:
			w.scheduleVersion()
		default:
			w.startCoordinator(c.version)
		}
	}
}

// stopped says whether the head names the end of the present version by a savepoint.
func (w *world) stopped() bool {
	return w.line.head.Final != nil && w.line.head.Final.State == snapshot.FinalSuspended
}

// drained says whether the present version was drained with a savepoint: it has read only a part of its input.
func (w *world) drained() bool {
	n, ok := w.line.head.Newest()
	return ok && n.Stop == record.StopDrain && n.ID > w.line.startedFrom
}

// finish compares the output with that of a sequential run, and starts what may come after the end.
func (w *world) finish() {
	w.line.checkOutput(true)
	w.finished++
	w.closing = nil
	switch {
	case w.tap != nil || w.line.from != "":
		w.done = true
	case w.finished == 1 && w.clock.chance(4):
		// A job that is started again after its end has nothing to do and changes nothing.
		w.scheduleVersion()
	case len(w.savepoints) > 0 && w.scenario.rots == "" && !w.scenario.plain && w.clock.chance(2):
		w.fork()
	default:
		w.done = true
	}
}

// fork starts another job from a savepoint of this one, with trouble of its own.
func (w *world) fork() {
	chosen := w.savepoints[w.clock.rnd.IntN(len(w.savepoints))]
	from := chosen.dir
	m, err := w.manifestOf(from)
	if err != nil {
		w.failf("reading the savepoint %s: %v", from, err)
		return
	}
	before := chosen.out.upTo(m)
	if w.clock.chance(2) {
		from += snapshot.ManifestName
	}
	w.tracef(nil, "another job starts from %s", from)
	w.startLineage("k", from)
	w.line.out.before, w.line.claims = before, w.clock.chance(2)
	if w.line.claims && w.clock.chance(2) {
		w.rivalClaims(chosen.dir)
	}
	w.faults.until = w.clock.now.Add(w.clock.between(0, 3*time.Second))
	w.scheduleVersion()
	w.scheduleTrouble()
}

func (w *world) checkLimits() {
	switch {
	case w.clock.steps > maxSteps:
		w.failf("the job goes round in circles: %d steps", w.clock.steps)
	case w.clock.now.Sub(w.calm()) > w.calmLimit() && !w.giveTime():
		w.failf("the job hasn't ended %v after the last fault: %s", w.calmLimit(), w.situation())
	case w.ctx.Err() != nil:
		w.failf("running out of time: %v", context.Cause(w.ctx))
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
