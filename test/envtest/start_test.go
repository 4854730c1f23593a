// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/test/envtest/conditions"

	. "github.com/onsi/gomega"
)

// The parts of specs that most tests use.
const (
	dataflow      = "dataflow: {operators: [{name: in, generator: {}}, {name: out, inputs: [in], log: {}}]}"
	bucket        = "storage: {s3: {bucket: bkt}}"
	checkpointing = "checkpointing: {interval: 10s}"
)

// TestOperator_Starts shows a first start: what is made, in which order, and what the status says of it.
func TestOperator_Starts(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("parallelism: 2", "workers: {slotsPerWorker: 1}", bucket, checkpointing, dataflow)
	c.running()
	job := c.until("the first checkpoint is known", func(job *streamv1.StreamJob) error {
		if job.Status.LastCheckpoint == nil {
			return fmt.Errorf("there is none")
		}
		return has(streamv1.ConditionCheckpointsHealthy, metav1.ConditionTrue, streamv1.ReasonCheckpointing)(job)
	})

	if want := []string{strings.ReplaceAll(string(job.UID), "-", "")}; !slices.Equal(c.storage.started(), want) {
		t.Errorf("the jobs %v were started empty, want %v", c.storage.started(), want)
	}
	for list, want := range map[client.ObjectList][]string{
		&appsv1.DeploymentList{}:  {"j-1-coordinator"},
		&appsv1.StatefulSetList{}: {"j-1-worker"},
		&corev1.ServiceList{}:     {"j-1"},
		&corev1.ConfigMapList{}:   {"j-1"},
	} {
		if diff := cmp.Diff(want, c.children(list)); diff != "" {
			t.Errorf("%T (-want +got):\n%s", list, diff)
		}
	}
	checkStarted(t, c, job)
	checkSecrets(t, c, job)
	checkOrder(t, c)
}

func checkStarted(t *testing.T, c *cluster, job *streamv1.StreamJob) {
	t.Helper()
	s := &job.Status
	if s.Grant != 1 || s.Deployment == nil || s.Deployment.Grant != 1 || s.Deployment.Generation != 1 || s.Deployment.Revision == "" {
		t.Errorf("grant %d, deployment %+v", s.Grant, s.Deployment)
	}
	if s.Phase != streamv1.PhaseRunning || s.Parallelism != 2 || s.Job == nil || s.Job.State != "Running" || s.Job.Epoch != "1-1" || s.Operation != nil {
		t.Errorf("phase %s, parallelism %d, job %+v, operation %+v", s.Phase, s.Parallelism, s.Job, s.Operation)
	}
	if s.Restore == nil || s.Restore.EffectiveMode != "Fresh" || s.Restore.Path != "" {
		t.Errorf("restore %+v", s.Restore)
	}
	if got := conditions.KStatus(job); got != conditions.Current {
		t.Errorf("kstatus is %s, want Current", got)
	}
	for _, name := range allConditions {
		condition := apimeta.FindStatusCondition(s.Conditions, name)
		if condition == nil || condition.ObservedGeneration != 1 {
			t.Errorf("condition %s is %+v", name, condition)
		}
	}
	selector, err := labels.Parse(s.Selector)
	if err != nil {
		t.Fatal(err)
	}
	var selected corev1.PodList
	if err := admin.List(t.Context(), &selected, client.InNamespace(c.namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		t.Fatal(err)
	}
	if len(selected.Items) != 2 {
		t.Errorf("status.selector matches %d pods, want 2 workers", len(selected.Items))
	}
}

var allConditions = []string{
	streamv1.ConditionReady, streamv1.ConditionReconciling, streamv1.ConditionStalled,
	streamv1.ConditionRunning, streamv1.ConditionCheckpointsHealthy, streamv1.ConditionCompleted,
}

// checkSecrets wants the certificates of the job, and that they go with it.
func checkSecrets(t *testing.T, c *cluster, job *streamv1.StreamJob) {
	t.Helper()
	for _, name := range certs.Names("j") {
		var secret corev1.Secret
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, &secret); err != nil {
			t.Fatal(err)
		}
		if !metav1.IsControlledBy(&secret, job) || len(secret.Data["ca.crt"]) == 0 {
			t.Errorf("secret %s has the owners %v and the keys %v", name, secret.OwnerReferences, len(secret.Data))
		}
	}
}

// checkOrder wants that the grant was written before anything of it existed, and that the conditions never went back.
func checkOrder(t *testing.T, c *cluster) {
	t.Helper()
	versions := c.versions()
	named := slices.IndexFunc(versions, func(job streamv1.StreamJob) bool {
		return job.Status.Grant == 1 && job.Status.Deployment != nil && job.Status.Deployment.Grant == 1
	})
	if named < 0 {
		t.Fatal("the grant was never written")
	}
	for _, child := range []client.Object{
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "j-1-coordinator"}},
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "j-1-worker"}},
	} {
		made := c.firstVersion(child)
		if made == nil {
			t.Fatalf("%s was never made", child.GetName())
		}
		if order, err := resourceversion.CompareResourceVersion(versions[named].ResourceVersion, made.GetResourceVersion()); err != nil || order >= 0 {
			t.Errorf("%s was made at %s, before the status named its grant at %s (%v)", child.GetName(), made.GetResourceVersion(), versions[named].ResourceVersion, err)
		}
	}
	ready := false
	for i := range versions {
		if len(versions[i].Status.Conditions) == 0 {
			continue
		}
		now := apimeta.IsStatusConditionTrue(versions[i].Status.Conditions, streamv1.ConditionReady)
		if ready && !now {
			t.Errorf("Ready went back to False at %s", versions[i].ResourceVersion)
		}
		if status := conditions.KStatus(&versions[i]); !now && status != conditions.InProgress {
			t.Errorf("kstatus was %s before the job ran", status)
		}
		ready = ready || now
	}
}

// TestOperator_RestsWithoutWrites shows that nothing is asked of the API server for a job that runs, however often checkpoints
// complete.
func TestOperator_RestsWithoutWrites(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	o := c.operate()
	c.create("parallelism: 2", bucket, checkpointing, dataflow)
	c.running()
	c.storage.set(func(s *script) { s.busy = true })
	c.until("the version counts as stable, which is written", func(job *streamv1.StreamJob) error {
		if job.Status.LastStable == nil {
			return fmt.Errorf("on the way is %+v", job.Status.Stability)
		}
		return nil
	})
	o.restsFor(t, 11*time.Second) // for ten after a command, a coordinator is asked ten times a second; where passes take longer than that, each of them finds another checkpoint to write
	before := c.storage.lineage("j").last
	NewWithT(t).Consistently(o.asked).WithTimeout(5*time.Second).WithPolling(time.Second).Should(BeEmpty(), "requests of a job at rest")
	if after := c.storage.lineage("j").last; after == before {
		t.Error("no checkpoint has completed meanwhile, so that this shows nothing")
	}

	// The kubelet writes the status of pods now and then, so that the operator looks at the job.
	c.storage.set(func(s *script) { s.busy = false })
	pods := c.children(&corev1.PodList{})
	beat := func() {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: pods[0]}}
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"beat":"%d"}}}`, time.Now().UnixNano())
		if err := admin.Patch(t.Context(), pod, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	c.eventually("the last checkpoint is known", func() error {
		if known := c.job().Status.LastCheckpoint.ID; known != c.storage.lineage("j").last {
			beat()
			return fmt.Errorf("checkpoint %d is", known)
		}
		return nil
	})
	o.rests(t)
	NewWithT(t).Consistently(func() []string {
		beat()
		return o.asked()
	}).WithTimeout(2*time.Second).WithPolling(200*time.Millisecond).Should(BeEmpty(), "requests of an operator that looks at a job at rest")
}

// TestOperator_MakesDeletedChildrenAgain shows that what somebody deletes comes back as it was, and the job goes on.
func TestOperator_MakesDeletedChildrenAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("parallelism: 2", bucket, checkpointing, dataflow)
	c.running()
	for _, child := range []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "j-1"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "j-1"}},
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "j-1-worker"}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "j-1-coordinator"}},
	} {
		child.SetNamespace(c.namespace)
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(child), child); err != nil {
			t.Fatal(err)
		}
		uid := child.GetUID()
		if err := admin.Delete(t.Context(), child); err != nil {
			t.Fatal(err)
		}
		c.eventually(fmt.Sprintf("%T %s is there again", child, child.GetName()), func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(child), child); err != nil {
				return err
			}
			if child.GetUID() == uid {
				return fmt.Errorf("it is the old one")
			}
			return nil
		})
	}
	job := c.until("the job runs with a new coordinator", func(job *streamv1.StreamJob) error {
		if job.Status.Job.Epoch != "1-2" {
			return fmt.Errorf("the epoch is %s", job.Status.Job.Epoch)
		}
		return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(job)
	})
	if job.Status.Grant != 1 || len(c.storage.started()) != 1 {
		t.Errorf("grant %d, jobs started empty: %v", job.Status.Grant, c.storage.started())
	}
}

// TestOperator_HealsStatus shows that what somebody else writes into the status does not stay.
func TestOperator_HealsStatus(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("parallelism: 2", bucket, checkpointing, dataflow)
	before := c.running()
	patch := `{"status":{"phase":"Failed","parallelism":77,"conditions":[{"type":"Ready","status":"False","reason":"Made","message":"up",` +
		`"lastTransitionTime":"2026-01-01T00:00:00Z"},{"type":"Foreign","status":"True","reason":"Other","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	if err := admin.Status().Patch(t.Context(), before.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
	c.until("the status is healed", func(job *streamv1.StreamJob) error {
		if job.Status.Phase != streamv1.PhaseRunning || job.Status.Selector != before.Status.Selector {
			return fmt.Errorf("phase %s, parallelism %d", job.Status.Phase, job.Status.Parallelism)
		}
		for _, name := range allConditions {
			if apimeta.FindStatusCondition(job.Status.Conditions, name) == nil {
				return fmt.Errorf("condition %s is missing", name)
			}
		}
		return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(job)
	})
}
