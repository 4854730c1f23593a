// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

// errNotYet is for what can't be put right yet, and nothing is wrong with that.
var errNotYet = errors.New("not yet")

const (
	// rollbackPatience is how long a version that can't run is left where it is, for it to be rolled back.
	rollbackPatience = 100 * time.Second
	// savepointPatience is how long a job that is being deleted may try to take a savepoint.
	savepointPatience = time.Minute
	// mostRetries is how often a job may be asked for a version again that was rolled back while faults were made.
	mostRetries = 3
)

func faultsOfStorage() []fault {
	return []fault{
		{name: "storage unreachable", weight: 3, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.storage(ctx, stage.Stop, c.between(2*time.Second, 12*time.Second))
		}},
		{name: "storage slow", weight: 2, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.storageMode(ctx, "slow&delay=300ms", c.between(3*time.Second, 10*time.Second))
		}},
		{name: "connections to the storage cut", weight: 2, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.storage(ctx, stage.Kill, 0)
		}},
		{name: "storage down", weight: 1, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.storageMode(ctx, "down", c.between(2*time.Second, 10*time.Second))
		}},
		{name: "storage denied", weight: 2, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.storageMode(ctx, "denied", c.between(2*time.Second, 10*time.Second))
		}},
		{name: "storage full", weight: 2, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.storageMode(ctx, "full", c.between(2*time.Second, 10*time.Second))
		}},
	}
}

func faultsOfTheCluster() []fault {
	return []fault{
		{name: "objects deleted", weight: 2, do: func(ctx context.Context, c *chaos, job string) error { return c.deleteChildren(ctx, job) }},
		{name: "pod evicted", weight: 2, do: func(ctx context.Context, c *chaos, job string) error {
			pod, err := c.anyPod(ctx, job, []string{coordinator, worker}[c.rng.IntN(2)])
			if err != nil {
				return err
			}
			return evict(ctx, pod)
		}},
		{name: "node drained", weight: 1, do: func(ctx context.Context, c *chaos, job string) error { return c.drain(ctx, job) }},
		{name: "second operator", weight: 1, do: func(ctx context.Context, c *chaos, _ string) error { return c.doubleOperator(ctx) }},
		{name: "API server frozen", weight: 1, local: true, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.component(ctx, "kube-apiserver", c.between(2*time.Second, 20*time.Second))
		}},
		{name: "kubelet frozen", weight: 1, local: true, do: func(ctx context.Context, c *chaos, _ string) error {
			return c.component(ctx, "kubelet", c.between(5*time.Second, 30*time.Second))
		}},
	}
}

// crashing is a version that crashes over and over and is left where it is until it was rolled back.
var crashing = fault{name: "version that crashes, until it is rolled back", weight: 2, do: func(ctx context.Context, c *chaos, job string) error {
	const bad = "seq / (seq - seq)"
	c.afterRollback(job, func(spec *streamv1.StreamJobSpec) bool { return rowsOf(spec.Dataflow.Operators) == bad },
		func(ctx context.Context) error { return c.setExpression(ctx, job, "seq") })
	return c.setExpression(ctx, job, bad)
}}

// faultsOfVersions are versions that can't run.
func faultsOfVersions() []fault {
	return []fault{
		crashing,
		{name: "broken version", weight: 3, do: func(ctx context.Context, c *chaos, job string) error { return c.breakVersion(ctx, job) }},
		{name: "image that does not exist", weight: 1, do: func(ctx context.Context, c *chaos, job string) error {
			return c.takeBack(ctx, job, c.setAbsentImage)
		}},
		{name: "image that does not exist, until it is rolled back", weight: 1, do: func(ctx context.Context, c *chaos, job string) error {
			c.afterRollback(job, func(spec *streamv1.StreamJobSpec) bool { return spec.Workers.PodTemplate != nil },
				func(ctx context.Context) error { return c.setAbsentImage(ctx, job, false) })
			return c.setAbsentImage(ctx, job, true)
		}},
		{name: "incompatible state", weight: 2, do: func(ctx context.Context, c *chaos, job string) error {
			return c.takeBack(ctx, job, c.setMisfit)
		}},
	}
}

// faultsOfObjects delete what users delete.
func faultsOfObjects() []fault {
	return []fault{
		{name: "job deleted and created again", weight: 2, do: func(ctx context.Context, c *chaos, job string) error { return c.createAgain(ctx, job) }},
		{name: "namespace deleted", weight: 1, do: func(ctx context.Context, c *chaos, _ string) error { return c.passingNamespace(ctx) }},
	}
}

// createAgain deletes a job, with a savepoint or without, and creates the same again once it is gone. The new one finds the state of the old one.
func (c *chaos) createAgain(ctx context.Context, name string) error {
	policy := []streamv1.DeletionPolicy{streamv1.CancelOnDeletion, streamv1.SavepointOnDeletion}[c.rng.IntN(2)]
	job, err := c.change(ctx, name, func(job *streamv1.StreamJob) { job.Spec.DeletionPolicy = policy })
	if err != nil {
		return err
	}
	c.deleted[name] = true
	c.later("creating "+name+" again", time.Second, func(ctx context.Context) error {
		switch now, err := c.get(ctx, name); {
		case apierrors.IsNotFound(err):
			again := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: name}, Spec: job.Spec}
			if err := suite.client.Create(ctx, again); err != nil {
				return err
			}
		case err != nil:
			return err
		case now.UID == job.UID && now.DeletionTimestamp == nil: // the first try did not come about
			return cmp.Or(suite.client.Delete(ctx, now), errNotYet)
		case now.UID == job.UID && time.Since(now.DeletionTimestamp.Time) > savepointPatience && now.Spec.DeletionPolicy != streamv1.CancelOnDeletion:
			patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"deletionPolicy":"Cancel"}}`)) // a version that can't run takes no savepoint
			return cmp.Or(suite.client.Patch(ctx, now, patch), errNotYet)
		case now.UID == job.UID:
			return errNotYet
		} // else it was created, and the answer to that was lost
		delete(c.deleted, name)
		return nil
	})
	return suite.client.Delete(ctx, job)
}

// passingNamespace makes a namespace with a job in it, and deletes it after a while.
func (c *chaos) passingNamespace(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%08x", c.ns, c.rng.Uint32())}}
	job := c.small("passing")
	job.Namespace, job.Spec.Storage = ns.Name, nil
	c.later("deleting namespace "+ns.Name, c.between(time.Second, 15*time.Second), func(ctx context.Context) error {
		return cmp.Or(client.IgnoreNotFound(suite.client.Delete(ctx, ns)), c.namespaceGone(ctx, ns))
	})
	return cmp.Or(suite.client.Create(ctx, ns), suite.client.Create(ctx, job))
}

// namespaceGone says that a namespace is not gone yet.
func (c *chaos) namespaceGone(ctx context.Context, ns *corev1.Namespace) error {
	err := suite.client.Get(ctx, client.ObjectKeyFromObject(ns), &corev1.Namespace{})
	if err == nil {
		return errNotYet
	}
	return client.IgnoreNotFound(err)
}

// storage signals what stands before the object store, and lets it go on after a while if there is one.
func (c *chaos) storage(ctx context.Context, sig stage.Signal, after time.Duration) error {
	list := &corev1.PodList{}
	if err := suite.client.List(ctx, list, client.InNamespace(c.ns), client.MatchingLabels{"app": "faulty"}); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return errors.New("what stands before the storage has no pod")
	}
	pod := &list.Items[0]
	if after > 0 {
		c.thaw(pod, after)
	}
	if err := suite.access.SignalContainer(ctx, pod, "", sig); err != nil {
		return err
	}
	return replaceAfter(ctx, pod, sig)
}

// replaceAfter deletes the pod of a container that was killed and has been before.
func replaceAfter(ctx context.Context, pod *corev1.Pod, sig stage.Signal) error {
	if sig != stage.Kill || len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].RestartCount < quickRestarts {
		return nil
	}
	return client.IgnoreNotFound(suite.client.Delete(ctx, pod, client.GracePeriodSeconds(0)))
}

// storageMode has the object store fail for a while.
func (c *chaos) storageMode(ctx context.Context, mode string, d time.Duration) error {
	c.later("storage", d, func(ctx context.Context) error { return c.store.change(ctx, "ok") })
	return c.store.change(ctx, mode)
}

// evict evicts a pod if its disruption budget lets it.
func evict(ctx context.Context, pod *corev1.Pod) error {
	return suite.access.Client().PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	})
}

// drain keeps new pods from the node for a while, and evicts those of a job that their disruption budget lets go.
func (c *chaos) drain(ctx context.Context, job string) error {
	first, err := c.anyPod(ctx, job, worker)
	if err != nil {
		return err
	}
	node := first.Spec.NodeName
	if node == "" {
		return errors.New("the worker has no node yet")
	}
	c.later("letting pods onto node "+node, c.between(2*time.Second, 10*time.Second), func(ctx context.Context) error { return setUnschedulable(ctx, node, false) })
	if err := setUnschedulable(ctx, node, true); err != nil {
		return err
	}
	evicted := 0
	for _, component := range []string{worker, coordinator} {
		pods, err := c.deployedPods(ctx, job, component)
		if err != nil {
			continue // it is being replaced already
		}
		for i := range pods {
			if evict(ctx, &pods[i]) == nil {
				evicted++
			}
		}
	}
	c.Logf("%s evicted %d pods of %s", clock(), evicted, job)
	return nil
}

// doubleOperator has a second operator, which doesn't ask for the lease, work beside the first one for a while.
func (c *chaos) doubleOperator(ctx context.Context) error {
	second, err := secondDeployment(ctx)
	if err != nil {
		return err
	}
	c.later("ending the second operator", c.between(15*time.Second, time.Minute), func(ctx context.Context) error {
		return client.IgnoreNotFound(suite.client.Delete(ctx, second))
	})
	return suite.client.Create(ctx, second)
}

// breakVersion asks for a version that can't run, and takes that back after a while.
func (c *chaos) breakVersion(ctx context.Context, name string) error {
	bad := []streamv1.Expression{"seq +", "nothing", "seq / (seq - seq)"}[c.rng.IntN(3)]
	return c.takeBack(ctx, name, func(ctx context.Context, name string, broken bool) error {
		if broken {
			return c.setExpression(ctx, name, bad)
		}
		return c.setExpression(ctx, name, "seq")
	})
}

// takeBack makes a change and takes it back after a while.
func (c *chaos) takeBack(ctx context.Context, name string, set func(ctx context.Context, name string, broken bool) error) error {
	c.later("repairing "+name, c.between(2*time.Second, 20*time.Second), func(ctx context.Context) error { return set(ctx, name, false) })
	return set(ctx, name, true)
}

// afterRollback repairs a job once the version that can't run was rolled back, or was not for long: other faults may come between.
func (c *chaos) afterRollback(name string, broken func(*streamv1.StreamJobSpec) bool, repair func(context.Context) error) {
	end := time.Now().Add(rollbackPatience)
	c.later("repairing "+name, time.Second, func(ctx context.Context) error {
		job, err := c.get(ctx, name)
		if err != nil {
			return err
		}
		if !broken(&job.Spec) {
			return nil // another fault was put right, and this one with it
		}
		holds := rollbackHolds(job)
		if c.deleted[name] || holds == "" && time.Now().Before(end) && !c.ending {
			return errNotYet
		}
		c.Logf("%s the version of %s that cannot run is repaired, %s", clock(), name, first(holds, "without having been rolled back"))
		return repair(ctx)
	})
}

// rollbackHolds says how a rollback ended that keeps the spec from being tried; nothing: none does.
func rollbackHolds(job *streamv1.StreamJob) string {
	reasons := []string{streamv1.ReasonRolledBack, streamv1.ReasonRollbackBlocked, streamv1.ReasonRollbackFailed}
	if is(job, streamv1.ConditionReady, metav1.ConditionFalse, reasons...) != "" || job.Status.Rollback == nil || observed(job, job.Generation) != "" {
		return ""
	}
	r := job.Status.Rollback
	return fmt.Sprintf("rolled back (%s, %s: %s)", r.Outcome, r.Reason, r.Message)
}

// retry asks for a version again that was rolled back because of faults that were made around it, as its condition says.
func (c *chaos) retry(ctx context.Context, job *streamv1.StreamJob, why string) string {
	if c.retried == mostRetries {
		return "again and again it is " + why
	}
	if err := c.edit(ctx, job.Name, fmt.Sprintf(`{"spec":{"restartNonce":"again-%d-%d"}}`, job.Generation, c.retried)); err != nil {
		return err.Error()
	}
	c.retried++
	c.Logf("%s %s is tried again, as it was %s", clock(), job.Name, why)
	return "it was " + why
}

// countRollbacks takes note of the rollbacks so far.
func (c *chaos) countRollbacks() {
	c.Helper()
	all, err := c.eventsOf(c.Context(), streamv1.ReasonRollingBack)
	if err != nil {
		c.Logf("%s listing the events of rollbacks: %v", clock(), err)
	}
	for i := range all {
		c.rollbacks[all[i].Name] = all[i].Regarding.Name + ": " + all[i].Note
	}
}

// get reads a job.
func (c *chaos) get(ctx context.Context, name string) (*streamv1.StreamJob, error) {
	job := &streamv1.StreamJob{}
	return job, suite.client.Get(ctx, types.NamespacedName{Namespace: c.ns, Name: name}, job)
}

// change edits the spec of a job and returns it.
func (c *chaos) change(ctx context.Context, name string, edit func(*streamv1.StreamJob)) (*streamv1.StreamJob, error) {
	if c.deleted[name] {
		return nil, errNotYet
	}
	job, err := c.get(ctx, name)
	if err != nil {
		return nil, err
	}
	before := job.DeepCopy()
	edit(job)
	return job, suite.client.Patch(ctx, job, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// setExpression sets what a job writes as the number of a row.
func (c *chaos) setExpression(ctx context.Context, name string, e streamv1.Expression) error {
	_, err := c.change(ctx, name, func(job *streamv1.StreamJob) { setRows(job, e) })
	return err
}

// setAbsentImage has the workers of a job need an image that nobody has, or no longer.
func (c *chaos) setAbsentImage(ctx context.Context, name string, broken bool) error {
	_, err := c.change(ctx, name, func(job *streamv1.StreamJob) {
		if job.Spec.Workers.PodTemplate = nil; broken {
			job.Spec.Workers = withAbsentImage(job.Spec.Workers)
		}
	})
	return err
}

// setMisfit gives an aggregate of a job a function that its state doesn't fit, or takes that back.
func (c *chaos) setMisfit(ctx context.Context, name string, broken bool) error {
	_, err := c.change(ctx, name, func(job *streamv1.StreamJob) {
		i := slices.IndexFunc(job.Spec.Dataflow.Operators, func(o streamv1.Operator) bool { return o.Name == "totals" })
		newest := &job.Spec.Dataflow.Operators[i].Aggregate.Aggregates[1]
		if newest.Function = streamv1.MaxFunction; broken {
			newest.Function = streamv1.MinFunction
		}
	})
	return err
}
