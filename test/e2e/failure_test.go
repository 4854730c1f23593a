// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/hack/e2e/stage"
	"github.com/weir-stream/weir/runtime/contract"
)

// TestWorkerKilled_LosesNothing kills the process of a worker.
func TestWorkerKilled_LosesNothing(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "worker")
	job := s.ledger("ledger")
	job.Spec.Workers = &streamv1.Workers{Replicas: 2}
	job = s.start(job)
	for i := range int64(2) {
		s.signal(s.pod(job, worker), stage.Kill)
		job = s.await(job.Name, "the restart", func(job *streamv1.StreamJob) string {
			if job.Status.Job.Restarts <= i {
				return fmt.Sprintf("%d restarts", job.Status.Job.Restarts)
			}
			return running(1)(job)
		})
		job = s.progress(job)
	}
	if job.Status.Grant != 1 || job.Status.Deployment.Grant != 1 {
		t.Errorf("the loss of a worker made a new deployment\n%s", describe(job))
	}
	s.finish(job.Name)
}

// TestWorkerFrozen_IsRestartedByItsProbe freezes the process of a worker for good: the node has to notice that its loop doesn't turn.
func TestWorkerFrozen_IsRestartedByItsProbe(t *testing.T) {
	t.Parallel()
	// Three questions that aren't answered, then as long as a process has to end by itself.
	const limit = 4 * time.Minute
	s := newScenario(t, "hung")
	job := s.start(s.ledger("ledger"))
	pod, begin := s.pod(job, worker), time.Now()
	s.signal(pod, stage.Stop)
	job = s.awaitWithin(limit, job.Name, "the worker's restart", func(job *streamv1.StreamJob) string {
		now := &corev1.Pod{}
		if err := suite.client.Get(t.Context(), client.ObjectKeyFromObject(pod), now); err != nil {
			return err.Error()
		}
		if now.UID != pod.UID || len(now.Status.ContainerStatuses) == 0 || now.Status.ContainerStatuses[0].RestartCount == 0 {
			return fmt.Sprintf("the process of pod %s has not been replaced (UID %s, was %s)", now.Name, now.UID, pod.UID)
		}
		if job.Status.Job.Restarts == 0 {
			return "the job was not restarted"
		}
		return running(1)(job)
	})
	t.Logf("%.0f s after the worker had frozen the job ran again", time.Since(begin).Seconds())
	job = s.progress(job)
	if job.Status.Grant != 1 || job.Status.Deployment.Grant != 1 {
		t.Errorf("a frozen worker made a new deployment\n%s", describe(job))
	}
	s.finish(job.Name)
}

// TestCoordinatorDeleted_GoesOnAsTheSameJob deletes the pod of the coordinator.
func TestCoordinatorDeleted_GoesOnAsTheSameJob(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "coordinator")
	job := s.start(s.ledger("ledger"))
	for range 2 {
		before, newest := job, s.newestCheckpoint(job, 1)
		pod := s.pod(job, coordinator)
		if err := suite.client.Delete(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		job = s.await(job.Name, "the next coordinator", func(job *streamv1.StreamJob) string {
			if job.Status.Job.Epoch == before.Status.Job.Epoch {
				return "its epoch is still " + job.Status.Job.Epoch
			}
			return running(1)(job)
		})
		job = s.progress(job)
		if job.Status.Job.ID != before.Status.Job.ID {
			t.Errorf("job %s became %s", before.Status.Job.ID, job.Status.Job.ID)
		}
		if now := s.newestCheckpoint(job, 1); now <= newest {
			t.Errorf("checkpoint ids went from %d to %d", newest, now)
		}
	}
	s.finish(job.Name)
}

// TestCoordinatorFrozen_IsRefusedWhenItComesBack freezes a coordinator with what could end it, upgrades the job around it, and lets it
// go on afterwards.
func TestCoordinatorFrozen_IsRefusedWhenItComesBack(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "frozen")
	job := s.ledger("ledger")
	job.Spec.Upgrade.SavepointTimeout = seconds(4)
	job = s.start(job)
	old := s.pod(job, coordinator)
	before := job

	thaw := s.freeze(old)
	job = s.rescale(job.Name, 3)
	if job.Status.Deployment.Grant <= before.Status.Deployment.Grant {
		t.Errorf("the new version has grant %d, the frozen one %d", job.Status.Deployment.Grant, before.Status.Deployment.Grant)
	}
	t.Logf("the frozen coordinator was replaced: restore %+v", job.Status.Restore)
	job = s.progress(job)

	s.refused(job, old, thaw)
	s.finish(job.Name)
}

// refused lets a frozen coordinator go on, beside its successor, and wants it to find itself refused and to do no harm.
func (s *scenario) refused(job *streamv1.StreamJob, old *corev1.Pod, thaw func()) {
	s.Helper()
	api := s.controlAPI(job.Name, old)
	s.signal(old, stage.Continue)
	s.eventually("the old coordinator to be refused", func() string {
		status, err := api.Job(s.Context())
		switch {
		case err != nil:
			return err.Error()
		case status.Problem == nil || status.Problem.Reason != contract.Fenced:
			return fmt.Sprintf("it is %s with problem %+v", status.State, status.Problem)
		}
		s.Logf("the old coordinator says: %v", status.Problem)
		return ""
	})
	job = s.progress(job)
	thaw()
	s.eventually("the old coordinator to go", func() string {
		pod := &corev1.Pod{}
		err := suite.client.Get(s.Context(), client.ObjectKeyFromObject(old), pod)
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("its pod is %s (%v)", pod.Status.Phase, err)
	})
	if got := s.job(job.Name).Status.Job.Epoch; got != job.Status.Job.Epoch {
		s.Errorf("the new coordinator's epoch went from %s to %s when the old one came back", job.Status.Job.Epoch, got)
	}
}

// TestCoordinatorFrozenDuringItsCommit freezes a coordinator with the commit of a checkpoint on its way to the object store, upgrades the job around it, and lets it
// go on. The commit arrives before the take-over, and then counts, or after it, and then must be refused.
func TestCoordinatorFrozenDuringItsCommit(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, "commit-"+name)
			store := s.faultyStore()
			job := s.ledger("ledger")
			job.Spec.Storage.S3.Endpoint = store.endpoint
			job.Spec.Upgrade.SavepointTimeout = seconds(4)
			job = s.start(job)
			old := s.pod(job, coordinator)

			store.set("hold&suffix=/head.json")
			s.eventually("a commit on its way", func() string {
				if store.met() == 0 {
					return "there is none"
				}
				return ""
			})
			thaw := s.freeze(old)
			var commit delivery
			if before {
				commit = store.deliver()
			}
			job = s.rescale(job.Name, 3)
			if !before {
				commit = store.deliver()
			}
			id, restored := commit.checkpoint(t), job.Status.Restore.CheckpointID
			t.Logf("the commit of checkpoint %d was answered with %d; the new version went on from checkpoint %d", id, commit.Status, restored)
			switch {
			case before && (commit.Status != http.StatusOK || restored != id):
				t.Errorf("the commit of checkpoint %d was answered with %d and the job restored from %d, want from what is in the head", id, commit.Status, restored)
			case !before && (commit.Status != http.StatusPreconditionFailed || restored >= id):
				t.Errorf("the late commit of checkpoint %d was answered with %d and the job restored from %d, want it refused", id, commit.Status, restored)
			}
			job = s.progress(job)
			s.refused(job, old, thaw)
			s.finish(job.Name)
		})
	}
}

// freeze stops the process of a pod and, so that the kubelet can't end it, the process that looks after it. The function that it returns
// lets both go on; it is also called at the end of the test.
func (s *scenario) freeze(pod *corev1.Pod) (thaw func()) {
	s.Helper()
	release := s.protect(pod)
	thaw = sync.OnceFunc(func() {
		ctx, cancel := s.late()
		defer cancel()
		_ = suite.access.SignalContainer(ctx, pod, "", stage.Continue) // it may have ended
		release()
	})
	s.Cleanup(thaw)
	s.signal(pod, stage.Stop)
	return thaw
}

// controlAPI is a client of the control API of a coordinator's pod.
func (s *scenario) controlAPI(job string, pod *corev1.Pod) *contract.Client {
	s.Helper()
	api, err := s.dialAPI(s.Context(), job, pod)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(api.Close)
	return api
}

func (s *scenario) dialAPI(ctx context.Context, job string, pod *corev1.Pod) (*contract.Client, error) {
	secret := &corev1.Secret{}
	key := types.NamespacedName{Namespace: s.ns, Name: certs.SecretName(job, certs.Client)}
	if err := suite.client.Get(ctx, key, secret); err != nil {
		return nil, err
	}
	cfg, err := certs.ClientTLS(secret)
	if err != nil {
		return nil, err
	}
	addr, err := suite.access.Listen(pod.Status.PodIP + ":8081")
	if err != nil {
		return nil, err
	}
	return contract.NewClient(addr, contract.ClientOptions{TLS: cfg})
}

// TestStorageUnreachable_KeepsTheOldVersion freezes the way to S3 during the savepoint of an upgrade.
func TestStorageUnreachable_KeepsTheOldVersion(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "storage")
	relay := s.relay()
	job := s.ledger("ledger")
	job.Spec.Storage.S3.Endpoint = "http://relay." + s.ns + ".svc:9000"
	job.Spec.Upgrade.SavepointTimeout = seconds(5)
	job = s.start(job)
	old := job.Status.Deployment

	s.signal(relay, stage.Toggle) // so slow that the savepoint takes a while
	generation := s.watchOperation(job.Name, streamv1.OperationSaving, `{"spec":{"parallelism":3}}`, func() {
		s.signal(relay, stage.Stop)
	})
	s.await(job.Name, "the condition that names it", func(job *streamv1.StreamJob) string {
		return is(job, streamv1.ConditionReady, metav1.ConditionFalse,
			streamv1.ReasonSavepointFailed, streamv1.ReasonStorageUnavailable)
	})
	job = s.job(job.Name)
	t.Logf("without S3: %s", message(job, streamv1.ConditionReady))
	if got := job.Status.Deployment; got.Revision != old.Revision || got.Grant != old.Grant {
		t.Errorf("deployed is %+v, want the old version %+v", got, old)
	}
	if missing := is(job, streamv1.ConditionRunning, metav1.ConditionTrue); missing != "" {
		t.Error(missing)
	}
	s.signal(relay, stage.Toggle)
	s.signal(relay, stage.Continue)
	job = s.await(job.Name, "the upgrade once S3 is back", upgraded(generation, 3))
	if got := len(s.savepoints()); got != 1 {
		t.Errorf("there are %d savepoints, want that of the upgrade", got)
	}
	s.progress(job)
	s.finish(job.Name)
}

// relay starts a relay to the S3 server in the namespace and returns its pod.
func (s *scenario) relay() *corev1.Pod {
	s.Helper()
	return s.before("relay", relaySpec())
}

// before starts something that stands before the S3 server, under a name in the namespace, port 9000, and returns its pod.
func (s *scenario) before(name string, spec corev1.PodSpec) *corev1.Pod {
	s.Helper()
	labels := map[string]string{"app": name}
	s.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 9000, TargetPort: intstr.FromInt32(9000)}}},
	})
	s.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	})
	var pod *corev1.Pod
	s.eventually("the "+name, func() string {
		pods := s.podsIn(labels)
		if len(pods) == 0 || pods[0].Status.Phase != corev1.PodRunning {
			return "no pod runs"
		}
		pod = &pods[0]
		return ""
	})
	return pod
}

func relaySpec() corev1.PodSpec { return toolSpec("relay", ":9000", stage.S3Addr) }

// toolSpec runs the tool in a pod that any namespace takes.
func toolSpec(args ...string) corev1.PodSpec {
	return corev1.PodSpec{
		AutomountServiceAccountToken:  new(bool),
		TerminationGracePeriodSeconds: new(int64(1)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: "tool", Image: "weir-tool:dev", ImagePullPolicy: corev1.PullIfNotPresent,
			Args: args,
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
}
