// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"

	. "github.com/onsi/gomega"
)

const (
	// patience is how long a test waits for something to become as expected.
	patience = 2 * time.Minute
	// held is how soon a pod is looked at again that is kept from running.
	held = 100 * time.Millisecond
)

// cluster is the world of one test: a namespace, what storage holds, and a clock.
type cluster struct {
	t         *testing.T
	namespace string
	storage   *storage
	clock     *skewedClock
	// served has coordinators serve their control APIs, on addresses of the loopback network, for operators that are programs.
	served atomic.Bool

	mu struct {
		sync.Mutex
		// trouble says what keeps a pod from running; nil: nothing.
		trouble func(*corev1.Pod) *corev1.PodStatus
		// versions of StreamJobs as they were written, and the first version of every other object.
		versions []streamv1.StreamJob
		made     map[string]client.Object
		log      []string
	}
}

// newCluster makes the world of a test.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, namespace: makeNamespace(t), storage: newStorage(), clock: &skewedClock{}}
	c.mu.made = map[string]client.Object{}
	nodes.join(c)
	for _, list := range []client.ObjectList{&streamv1.StreamJobList{}, &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.PodList{}} {
		w, err := admin.Watch(t.Context(), list, client.InNamespace(c.namespace))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		go c.follow(w)
	}
	return c
}

// follow remembers what happens to objects.
func (c *cluster) follow(w watch.Interface) {
	for e := range w.ResultChan() {
		o, ok := e.Object.(client.Object)
		if !ok {
			continue
		}
		c.mu.Lock()
		if job, ok := o.(*streamv1.StreamJob); ok {
			c.mu.versions = append(c.mu.versions, *job)
		}
		if name := fmt.Sprintf("%T %s", o, o.GetName()); c.mu.made[name] == nil {
			c.mu.made[name] = o
		}
		c.mu.Unlock()
	}
}

// versions returns the StreamJob as it was after each write.
func (c *cluster) versions() []streamv1.StreamJob {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mu.versions)
}

// firstVersion returns an object as it was when it was made; nil when it never was.
func (c *cluster) firstVersion(o client.Object) client.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.made[fmt.Sprintf("%T %s", o, o.GetName())]
}

// keepPods keeps pods from running as long as trouble returns something for them.
func (c *cluster) keepPods(trouble func(*corev1.Pod) *corev1.PodStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.trouble = trouble
}

func (c *cluster) troubleOf(pod *corev1.Pod) *corev1.PodStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.trouble == nil {
		return nil
	}
	return c.mu.trouble(pod)
}

// Write takes a line of an operator's log up.
func (c *cluster) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.log = append(c.mu.log, strings.TrimSpace(string(line)))
	return len(line), nil
}

// create makes the StreamJob j with the fields of its spec, one a line.
func (c *cluster) create(fields ...string) {
	c.t.Helper()
	makeJob(c.t, c.namespace, fields...)
}

// job returns the StreamJob as it is; nil when it is gone.
func (c *cluster) job() *streamv1.StreamJob {
	c.t.Helper()
	var job streamv1.StreamJob
	err := admin.Get(context.WithoutCancel(c.t.Context()), client.ObjectKey{Namespace: c.namespace, Name: "j"}, &job)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return &job
}

// edit changes the spec of the StreamJob as a user would.
func (c *cluster) edit(change func(*streamv1.StreamJobSpec)) {
	c.t.Helper()
	for {
		job := c.job()
		change(&job.Spec)
		err := admin.Update(c.t.Context(), job)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			c.t.Fatal(err)
		}
	}
}

// pass lets time pass, and has the operator look at the StreamJob.
func (c *cluster) pass(d time.Duration) {
	c.t.Helper()
	c.clock.pass(d)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"test":"%s"}}}`, c.clock.Now().Format(time.RFC3339Nano))
	if err := admin.Patch(c.t.Context(), c.job(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		c.t.Fatal(err)
	}
}

// delete deletes the StreamJob as a user would.
func (c *cluster) delete() {
	c.t.Helper()
	if err := admin.Delete(c.t.Context(), c.job()); err != nil {
		c.t.Fatal(err)
	}
}

// until waits until the StreamJob is as want says, and returns it. What want returns says what it lacks.
func (c *cluster) until(what string, want func(*streamv1.StreamJob) error) *streamv1.StreamJob {
	c.t.Helper()
	var job *streamv1.StreamJob
	NewWithT(c.t).Eventually(func() error {
		if job = c.job(); job == nil {
			return errors.New("the StreamJob is gone")
		}
		return want(job)
	}).WithTimeout(patience).WithPolling(50*time.Millisecond).Should(Succeed(), func() string { return "waiting until " + what + c.dump() })
	return job
}

// gone waits until the StreamJob is gone.
func (c *cluster) gone() {
	c.t.Helper()
	c.eventually("the StreamJob is gone", func() error {
		if c.job() != nil {
			return errors.New("it is still there")
		}
		return nil
	})
}

// eventually waits until want returns nil.
func (c *cluster) eventually(what string, want func() error) {
	c.t.Helper()
	NewWithT(c.t).Eventually(want).WithTimeout(patience).WithPolling(50*time.Millisecond).
		Should(Succeed(), func() string { return "waiting until " + what + c.dump() })
}

// running waits until the StreamJob is Ready because it runs, with its newest spec.
func (c *cluster) running() *streamv1.StreamJob {
	c.t.Helper()
	return c.until("the job runs", has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning))
}

// has wants a condition of the newest generation.
func has(condition string, status metav1.ConditionStatus, reason string) func(*streamv1.StreamJob) error {
	return func(job *streamv1.StreamJob) error {
		c := apimeta.FindStatusCondition(job.Status.Conditions, condition)
		switch {
		case c == nil:
			return fmt.Errorf("there is no condition %s", condition)
		case c.ObservedGeneration != job.Generation:
			return fmt.Errorf("condition %s is of generation %d, not %d", condition, c.ObservedGeneration, job.Generation)
		case c.Status != status || c.Reason != reason:
			return fmt.Errorf("condition %s is %s %s: %q, want %s %s", condition, c.Status, c.Reason, c.Message, status, reason)
		}
		return nil
	}
}

// message returns the message of a condition.
func message(job *streamv1.StreamJob, condition string) string {
	if c := apimeta.FindStatusCondition(job.Status.Conditions, condition); c != nil {
		return c.Message
	}
	return ""
}

// children returns the names of the objects of a kind in the namespace.
func (c *cluster) children(list client.ObjectList) []string {
	c.t.Helper()
	if err := admin.List(context.WithoutCancel(c.t.Context()), list, client.InNamespace(c.namespace), client.HasLabels{streamv1.LabelJob}); err != nil {
		c.t.Fatal(err)
	}
	names := []string{}
	_ = apimeta.EachListItem(list, func(o runtimeObject) error {
		names = append(names, o.(client.Object).GetName())
		return nil
	})
	slices.Sort(names)
	return names
}

// dump describes everything, for a test that fails.
func (c *cluster) dump() string {
	var b strings.Builder
	if job := c.job(); job != nil {
		job.ManagedFields = nil
		text, _ := yaml.Marshal(map[string]any{"metadata": job.ObjectMeta, "status": job.Status})
		fmt.Fprintf(&b, "\n--- StreamJob\n%s", text)
	}
	for _, list := range []client.ObjectList{&corev1.ConfigMapList{}, &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.PodList{}} {
		fmt.Fprintf(&b, "%T: %v\n", list, c.children(list))
	}
	fmt.Fprintf(&b, "commands: %v\n", c.storage.asked(""))
	c.mu.Lock()
	defer c.mu.Unlock()
	log := c.mu.log
	for _, line := range log[max(0, len(log)-60):] {
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.String()
}
