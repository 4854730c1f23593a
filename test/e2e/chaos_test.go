// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

var (
	chaosFor  = flag.Duration("chaos", 0, "how long TestChaos makes faults")
	chaosSeed = flag.Uint64("chaos-seed", 0, "what TestChaos chooses faults by; 0: one of its own, which it prints")
)

const (
	chaosJobs = 3
	// faultsInARow are made before all jobs must have recovered.
	faultsInARow = 40
	// recoverTimeout is how long that may take. Back-offs of Kubernetes are a part of it: a container that was killed five times in a
	// row is started again after 80 s or more.
	recoverTimeout = 8 * time.Minute
	// quickRestarts is how often a container is started again without much of a back-off. Then the pod of the operator, or of what stands before the
	// storage, is replaced, else it would be away most of the time, and nothing be tried out.
	quickRestarts = 2
	// faultTimeout bounds making a fault, undoTimeout a try to put it right. What can't be made while another fault lasts is not waited for.
	faultTimeout = 5 * time.Second
	undoTimeout  = 10 * time.Second
	// leastForRollbacks is the shortest run in which some version must have been rolled back.
	leastForRollbacks = 10 * time.Minute
)

// chaos makes faults at random and remembers what has to be put right again.
type chaos struct {
	*scenario
	rng   *rand.Rand
	jobs  []string
	store *store
	// made counts the faults by name, missed those that could not be made, such as for a pod that was not there.
	made, missed map[string]int
	// rollbacks are the texts of the events of rollbacks, by name; events don't last.
	rollbacks map[string]string
	// deleted are the jobs that are being deleted, and will be created again: nothing else is changed in them.
	deleted map[string]bool
	// retried counts how often the job that is waited for was asked to try a version again that was rolled back.
	retried int
	// ending says that the test is over, and that nothing is waited for any more.
	ending bool
	// undo puts right what a fault has left behind, at a time.
	undo []undo
}

type undo struct {
	what string
	at   time.Time
	do   func(context.Context) error
}

// fault is one kind of fault. It returns an error when there was nothing to be broken.
type fault struct {
	name string
	// weight is how often it is chosen, compared with others.
	weight int
	// local says that it needs a cluster whose components can be signalled.
	local bool
	do    func(ctx context.Context, c *chaos, job string) error
}

// TestChaos_KeepsEveryRow makes faults of all kinds for a given time, again and again wants all jobs to recover from them, and judges in
// the end that every row of every job is there exactly once. It runs by itself: "make chaos DURATION=10m".
func TestChaos_KeepsEveryRow(t *testing.T) {
	if *chaosFor == 0 {
		t.Fatal("say for how long, with --chaos: \"make chaos DURATION=10m\"")
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("chaos for %v, seed %d", *chaosFor, seed)
	c := &chaos{
		scenario: newScenario(t, "chaos"), rng: rand.New(rand.NewPCG(seed, seed)),
		made: map[string]int{}, missed: map[string]int{}, rollbacks: map[string]string{},
		deleted: map[string]bool{},
	}
	t.Cleanup(c.calm)
	c.store = c.faultyStore()
	for i := range chaosJobs {
		c.jobs = append(c.jobs, c.add(i))
	}
	total, end := 0, time.Now().Add(*chaosFor)
	for time.Now().Before(end) {
		for range faultsInARow {
			total += c.fault()
			c.rest(time.Duration(c.rng.Int64N(int64(1500 * time.Millisecond))))
		}
		c.settle()
		total += c.inject(crashing, c.jobs[c.rng.IntN(len(c.jobs))]) // nothing comes between, so it is rolled back
		c.recover(total)
	}
	t.Logf("%d faults: %v (could not be made: %v)", total, c.made, c.missed)
	t.Logf("%d rollbacks: %q", len(c.rollbacks), slices.Sorted(maps.Values(c.rollbacks)))
	if len(c.rollbacks) == 0 && *chaosFor >= leastForRollbacks {
		t.Error("no version was rolled back, though some crashed until they would be")
	}
	for _, job := range c.jobs {
		c.finish(job)
	}
}

// add creates one of the jobs, each a little different.
func (c *chaos) add(i int) string {
	job := c.ledger(fmt.Sprintf("job-%d", i))
	job.Spec.Storage.S3.Endpoint = c.store.endpoint
	job.Spec.Upgrade.SavepointTimeout = seconds(15)
	job.Spec.Workers = &streamv1.Workers{Replicas: 2}
	switch i {
	case 1:
		job.Spec.Checkpointing.Alignment = &streamv1.Alignment{Mode: streamv1.UnalignedMode}
		job.Spec.StateBackend = &streamv1.StateBackend{Incremental: true, LocalRecovery: true}
		job.Spec.Upgrade.Surge = streamv1.SurgeIfPossible
	case 2:
		job.Spec.Checkpointing.Interval = seconds(0.3)
		job.Spec.Upgrade.Mode = streamv1.UpgradeFromLastCheckpoint
	}
	c.start(job)
	return job.Name
}

// faults are all kinds of them.
func faults() []fault {
	return slices.Concat(faultsOfProcesses(), faultsOfStorage(), faultsOfSpecs(), faultsOfVersions(), faultsOfTheCluster(), faultsOfObjects())
}

func faultsOfProcesses() []fault {
	return []fault{
		{name: "worker killed", weight: 4, do: func(ctx context.Context, c *chaos, job string) error {
			return c.signalAny(ctx, job, worker, stage.Kill)
		}},
		{name: "worker deleted", weight: 3, do: func(ctx context.Context, c *chaos, job string) error { return c.deletePod(ctx, job, worker) }},
		{name: "worker frozen", weight: 3, do: func(ctx context.Context, c *chaos, job string) error {
			return c.freezeAny(ctx, job, worker, 2*time.Second, 15*time.Second)
		}},
		{name: "coordinator killed", weight: 4, do: func(ctx context.Context, c *chaos, job string) error {
			return c.signalAny(ctx, job, coordinator, stage.Kill)
		}},
		{name: "coordinator deleted", weight: 3, do: func(ctx context.Context, c *chaos, job string) error {
			return c.deletePod(ctx, job, coordinator)
		}},
		{name: "coordinator frozen", weight: 4, do: func(ctx context.Context, c *chaos, job string) error {
			return c.freezeAny(ctx, job, coordinator, 2*time.Second, 20*time.Second)
		}},
		{name: "operator killed", weight: 4, do: func(ctx context.Context, c *chaos, _ string) error { return c.operator(ctx, stage.Kill, 0) }},
		{name: "operator frozen", weight: 2, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.operator(ctx, stage.Stop, c.between(2*time.Second, 25*time.Second))
		}},
	}
}

func faultsOfSpecs() []fault {
	return []fault{
		{name: "parallelism edited", weight: 6, do: func(ctx context.Context, c *chaos, job string) error {
			return c.edit(ctx, job, fmt.Sprintf(`{"spec":{"parallelism":%d}}`, 1+c.rng.IntN(4)))
		}},
		{name: "suspended", weight: 3, do: func(ctx context.Context, c *chaos, job string) error {
			c.later("resume "+job, c.between(time.Second, 8*time.Second), func(ctx context.Context) error {
				return c.edit(ctx, job, `{"spec":{"state":"Running"}}`)
			})
			return c.edit(ctx, job, `{"spec":{"state":"Suspended"}}`)
		}},
		{name: "restarted", weight: 3, do: func(ctx context.Context, c *chaos, job string) error {
			return c.edit(ctx, job, fmt.Sprintf(`{"spec":{"restartNonce":"%08x"}}`, c.rng.Uint32()))
		}},
		{name: "savepoint", weight: 3, do: func(ctx context.Context, c *chaos, job string) error {
			return c.edit(ctx, job, fmt.Sprintf(`{"spec":{"savepoint":{"trigger":"%08x"}}}`, c.rng.Uint32()))
		}},
		{name: "snapshot asked for", weight: 2, do: func(ctx context.Context, c *chaos, job string) error {
			return suite.client.Create(ctx, &streamv1.StreamSnapshot{
				ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: fmt.Sprintf("snap-%08x", c.rng.Uint32())},
				Spec:       streamv1.StreamSnapshotSpec{JobRef: &streamv1.JobReference{Name: job}, ReclaimPolicy: streamv1.ReclaimDelete},
			})
		}},
		{name: "interval edited", weight: 2, do: func(ctx context.Context, c *chaos, job string) error {
			return c.edit(ctx, job, fmt.Sprintf(`{"spec":{"checkpointing":{"interval":"%dms"}}}`, 200+c.rng.IntN(2000)))
		}},
		{name: "upgrade mode edited", weight: 2, do: func(ctx context.Context, c *chaos, job string) error {
			mode := []streamv1.UpgradeMode{streamv1.UpgradeFromSavepoint, streamv1.UpgradeFromLastCheckpoint}[c.rng.IntN(2)]
			return c.edit(ctx, job, fmt.Sprintf(`{"spec":{"upgrade":{"mode":"%s"}}}`, mode))
		}},
	}
}

// fault makes one fault and returns 1, or 0 if it couldn't be made.
func (c *chaos) fault() int {
	c.Helper()
	all := slices.DeleteFunc(faults(), func(f fault) bool { return f.local && suite.cluster.Kind != stage.Local })
	weights := 0
	for _, f := range all {
		weights += f.weight
	}
	n := c.rng.IntN(weights)
	i := 0
	for ; n >= all[i].weight; i++ {
		n -= all[i].weight
	}
	return c.inject(all[i], c.jobs[c.rng.IntN(len(c.jobs))])
}

// inject makes a fault of a kind.
func (c *chaos) inject(f fault, job string) int {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), faultTimeout)
	defer cancel()
	if err := f.do(ctx, c, job); err != nil {
		c.missed[f.name]++
		c.Logf("%s %s (%s): not done: %v", clock(), f.name, job, err)
		return 0
	}
	c.made[f.name]++
	c.Logf("%s %s (%s)", clock(), f.name, job)
	return 1
}

func clock() string { return time.Now().UTC().Format("15:04:05.0") }

func (c *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rng.Int64N(int64(most-least)))
}

// later has something put right after a time. A fault asks for that before it is made: one that seems to have failed, because a frozen API server or storage
// didn't answer in time, may come about all the same.
func (c *chaos) later(what string, after time.Duration, do func(context.Context) error) {
	c.undo = append(c.undo, undo{what, time.Now().Add(after), do})
}

// rest lets time pass and puts right what is due.
func (c *chaos) rest(d time.Duration) {
	c.Helper()
	c.until(d, func() bool {
		c.putRight(c.Context(), false)
		return false
	})
}

// putRight undoes what is due, or all; what can't be undone yet is tried again.
func (c *chaos) putRight(ctx context.Context, all bool) {
	var left []undo
	for _, u := range c.undo {
		if !all && time.Now().Before(u.at) {
			left = append(left, u)
			continue
		}
		once, cancel := context.WithTimeout(ctx, undoTimeout)
		if err := u.do(once); err != nil {
			if !errors.Is(err, errNotYet) {
				c.Logf("%s %s: not yet: %v", clock(), u.what, err)
			}
			u.at = time.Now().Add(time.Second)
			left = append(left, u)
		}
		cancel()
	}
	c.undo = left
}

// calm puts everything right at the end of the test, whatever came of it.
func (c *chaos) calm() {
	ctx, cancel := c.late()
	defer cancel()
	c.ending = true
	for len(c.undo) > 0 && ctx.Err() == nil {
		c.putRight(ctx, true)
		time.Sleep(pollInterval)
	}
}

// settle waits until everything is put right.
func (c *chaos) settle() {
	c.Helper()
	end := time.Now().Add(recoverTimeout + rollbackPatience)
	for len(c.undo) > 0 {
		c.rest(time.Second)
		if time.Now().After(end) {
			c.Fatalf("%d faults can't be put right: %s and others", len(c.undo), c.undo[0].what)
		}
		if c.Context().Err() != nil {
			c.Fatal("the test was ended")
		}
	}
}

// recover puts everything right and waits until all jobs run as their specs say and go on.
func (c *chaos) recover(faults int) {
	c.Helper()
	c.settle()
	begin := time.Now()
	for _, name := range c.jobs {
		c.retried = 0
		missing := ""
		if !c.until(recoverTimeout, func() bool { missing = c.recovered(name); return missing == "" }) {
			job := &streamv1.StreamJob{}
			_ = suite.client.Get(c.Context(), types.NamespacedName{Namespace: c.ns, Name: name}, job)
			c.Fatalf("%s does not recover: %s\n%s", name, missing, describe(job))
		}
	}
	missing := ""
	if !c.until(recoverTimeout, func() bool { missing = c.snapshotsTaken(); return missing == "" }) {
		c.Fatal(missing)
	}
	c.countRollbacks()
	c.Logf("%s all jobs have recovered after %d faults, in %.1f s", clock(), faults, time.Since(begin).Seconds())
}

// snapshotsTaken says which StreamSnapshot isn't complete; those that are, or can't be any more, are deleted, with their files.
func (c *chaos) snapshotsTaken() string {
	ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
	defer cancel()
	list := &streamv1.StreamSnapshotList{}
	if err := suite.client.List(ctx, list, client.InNamespace(c.ns)); err != nil {
		return err.Error()
	}
	missing := ""
	for i := range list.Items {
		snap := &list.Items[i]
		if snap.Status.State == streamv1.SnapshotCompleted || lostItsJob(snap) {
			if err := suite.client.Delete(ctx, snap); client.IgnoreNotFound(err) != nil {
				return err.Error()
			}
		}
		missing = fmt.Sprintf("snapshot %s is %+v", snap.Name, snap.Status)
	}
	return missing
}

// lostItsJob says that a snapshot will never be taken, since its job was deleted before it was.
func lostItsJob(snap *streamv1.StreamSnapshot) bool {
	c := apimeta.FindStatusCondition(snap.Status.Conditions, streamv1.ConditionReady)
	return snap.Status.State == streamv1.SnapshotFailed && c != nil && c.Reason == streamv1.ReasonJobGone
}

// recovered says what is still missing until a job runs as its spec says.
func (c *chaos) recovered(name string) string {
	ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
	defer cancel()
	job := &streamv1.StreamJob{}
	if err := suite.client.Get(ctx, types.NamespacedName{Namespace: c.ns, Name: name}, job); err != nil {
		return err.Error()
	}
	if why := rollbackHolds(job); why != "" {
		return c.retry(ctx, job, why)
	}
	if missing := running(job.Generation)(job); missing != "" {
		return missing
	}
	if job.Spec.Savepoint != nil && job.Spec.Savepoint.Trigger != job.Status.SavepointTrigger {
		return "the savepoint that was asked for is not taken"
	}
	return ""
}

// deployedPods lists the pods of a component of the deployed version.
func (c *chaos) deployedPods(ctx context.Context, name, component string) ([]corev1.Pod, error) {
	job := &streamv1.StreamJob{}
	if err := suite.client.Get(ctx, types.NamespacedName{Namespace: c.ns, Name: name}, job); err != nil {
		return nil, err
	}
	if job.Status.Deployment == nil {
		return nil, fmt.Errorf("job %s isn't deployed", name)
	}
	list := &corev1.PodList{}
	err := suite.client.List(ctx, list, client.InNamespace(c.ns), client.MatchingLabels{
		streamv1.LabelJob: name, streamv1.LabelGrant: fmt.Sprint(job.Status.Deployment.Grant), streamv1.LabelComponent: component,
	})
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if len(pods) == 0 {
		return nil, fmt.Errorf("there is no %s", component)
	}
	return pods, nil
}

func (c *chaos) anyPod(ctx context.Context, name, component string) (*corev1.Pod, error) {
	pods, err := c.deployedPods(ctx, name, component)
	if err != nil {
		return nil, err
	}
	return &pods[c.rng.IntN(len(pods))], nil
}

func (c *chaos) signalAny(ctx context.Context, name, component string, sig stage.Signal) error {
	pod, err := c.anyPod(ctx, name, component)
	if err != nil {
		return err
	}
	return suite.access.SignalContainer(ctx, pod, "", sig)
}

func (c *chaos) freezeAny(ctx context.Context, name, component string, least, most time.Duration) error {
	pod, err := c.anyPod(ctx, name, component)
	if err != nil {
		return err
	}
	c.thaw(pod, c.between(least, most))
	return suite.access.SignalContainer(ctx, pod, "", stage.Stop)
}

// thaw lets the processes of a container go on after a while, unless they have ended meanwhile.
func (c *chaos) thaw(pod *corev1.Pod, after time.Duration) {
	c.later("thawing "+pod.Name, after, func(ctx context.Context) error {
		now := &corev1.Pod{}
		err := suite.client.Get(ctx, client.ObjectKeyFromObject(pod), now)
		if err != nil || now.UID != pod.UID {
			return client.IgnoreNotFound(err) // it is gone
		}
		err = suite.access.SignalContainer(ctx, now, "", stage.Continue) // that of pod may not have run yet
		if err != nil && (strings.Contains(err.Error(), "no process") || strings.Contains(err.Error(), "no running container")) {
			return nil // it was ended and started again, or never began
		}
		return err
	})
}

func (c *chaos) deletePod(ctx context.Context, name, component string) error {
	pod, err := c.anyPod(ctx, name, component)
	if err != nil {
		return err
	}
	var opts []client.DeleteOption
	if c.rng.IntN(2) == 0 {
		opts = append(opts, client.GracePeriodSeconds(0))
	}
	return suite.client.Delete(ctx, pod, opts...)
}

func (c *chaos) operator(ctx context.Context, sig stage.Signal, thawAfter time.Duration) error {
	list := &corev1.PodList{}
	if err := suite.client.List(ctx, list, client.InNamespace(stage.OperatorNamespace)); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return fmt.Errorf("the operator has no pod")
	}
	pod := &list.Items[c.rng.IntN(len(list.Items))]
	if thawAfter > 0 {
		c.thaw(pod, thawAfter)
	}
	if err := suite.access.SignalContainer(ctx, pod, "", sig); err != nil {
		return err
	}
	return replaceAfter(ctx, pod, sig)
}

// edit patches a job.
func (c *chaos) edit(ctx context.Context, name, patch string) error {
	if c.deleted[name] {
		return errNotYet
	}
	job := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: name}}
	return suite.client.Patch(ctx, job, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// deleteChildren deletes one of the objects that the operator has made for a job.
func (c *chaos) deleteChildren(ctx context.Context, name string) error {
	lists := []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &corev1.SecretList{}}
	list := lists[c.rng.IntN(len(lists))]
	if err := suite.client.List(ctx, list, client.InNamespace(c.ns), client.MatchingLabels{streamv1.LabelJob: name}); err != nil {
		return err
	}
	items, err := apimeta.ExtractList(list)
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return fmt.Errorf("there is no such object")
	}
	o, ok := items[c.rng.IntN(len(items))].(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", items[0])
	}
	c.Logf("%s deleting %T %s", clock(), o, o.GetName())
	return suite.client.Delete(ctx, o)
}

// component freezes a component of the cluster for a while.
func (c *chaos) component(ctx context.Context, name string, d time.Duration) error {
	thaw := func(ctx context.Context) error { return suite.cluster.SignalComponent(ctx, name, stage.Continue) }
	c.undo = slices.Insert(c.undo, 0, undo{"thawing " + name, time.Now().Add(d), thaw}) // before all else that is due, which may wait for it
	return suite.cluster.SignalComponent(ctx, name, stage.Stop)
}
