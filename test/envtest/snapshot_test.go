// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// snapshotAgent does what an agent pod of a StreamSnapshot would.
func (s *storage) snapshotAgent(args []string) contract.AgentResult {
	at := func(flag string) string {
		if i := slices.Index(args, flag); i >= 0 {
			return args[i+1]
		}
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record("Agent " + args[1] + " " + at("--path"))
	for _, l := range s.lineages {
		for i, info := range l.retired {
			if info.Kind != "Savepoint" || strings.TrimSuffix(info.Path, "/") != strings.TrimSuffix(at("--path"), "/") {
				continue
			}
			if args[1] == "remove" {
				l.retired = slices.Delete(slices.Clone(l.retired), i, i+1)
				return contract.AgentResult{Task: contract.AgentRemove, OK: true, Deleted: 2}
			}
			return contract.AgentResult{Task: contract.AgentInspect, OK: true, JobID: l.id, Snapshot: &info}
		}
	}
	return contract.AgentResult{Task: contract.AgentInspect, Problem: &contract.Problem{Reason: contract.RestoreNotFound, Message: "there is none"}}
}

// snapshotYAML returns a StreamSnapshot.
func snapshotYAML(name, spec string) string {
	return "apiVersion: stream.weir.dev/v1alpha1\nkind: StreamSnapshot\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

func TestSnapshotAPI_Rules(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{
		"jobRef: {name: j}", "jobRef: {name: j}, target: some/where, timeout: 5m, reclaimPolicy: Delete",
		"jobRef: {name: j}, path: 's3://bkt/sp'", "path: 's3://bkt/sp', storage: {s3: {bucket: bkt}}",
		"path: /data/sp, storage: {volume: {path: /data, claimName: state}}",
	} {
		if err := create(t, snapshotYAML("s", spec)); err != nil {
			t.Errorf("refused %s: %v", spec, err)
		}
	}
	tests := map[string]struct{ name, spec, want string }{
		"neither":             {"s", "reclaimPolicy: Delete", "set jobRef to take a savepoint of a job, or path to adopt a snapshot that exists"},
		"path without place":  {"s", "path: 's3://bkt/sp'", "set exactly one of storage and jobRef"},
		"path of two places":  {"s", "path: 's3://bkt/sp', jobRef: {name: j}, storage: {s3: {bucket: bkt}}", "set exactly one of storage and jobRef"},
		"storage of a job":    {"s", "jobRef: {name: j}, storage: {s3: {bucket: bkt}}", "storage is for path"},
		"target that leaves":  {"s", "jobRef: {name: j}, target: a/../../b", "use a relative path of non-empty parts"},
		"target of a path":    {"s", "path: 's3://bkt/sp', jobRef: {name: j}, target: x", "target is for a savepoint that is taken"},
		"volume of no claim":  {"s", "path: /data/sp, storage: {volume: {path: /data}}", "name the persistent volume claim"},
		"too long a name":     {strings.Repeat("s", 64), "jobRef: {name: j}", "at most 63 characters"},
		"too short a timeout": {"s", "jobRef: {name: j}, timeout: 10ms", "timeout must be at least 1s"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := causes(t, create(t, snapshotYAML(tc.name, tc.spec)))
			if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, tc.want) }) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSnapshotAPI_OnlyTheReclaimPolicyChanges(t *testing.T) {
	t.Parallel()
	snap := makeSnapshot(t, makeNamespace(t), "s", "jobRef: {name: j}, target: x")
	for _, patch := range []string{
		`{"spec":{"jobRef":{"name":"k"}}}`, `{"spec":{"target":"y"}}`, `{"spec":{"target":null}}`, `{"spec":{"timeout":"5m"}}`,
		`{"spec":{"path":"s3://bkt/sp","target":null}}`,
	} {
		err := admin.Patch(t.Context(), snap.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch)))
		if got := causes(t, err); !strings.Contains(strings.Join(got, " "), "cannot change: create another StreamSnapshot") {
			t.Errorf("%s: %q", patch, got)
		}
	}
	if err := admin.Patch(t.Context(), snap, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"reclaimPolicy":"Delete"}}`))); err != nil {
		t.Error(err)
	}
}

// makeSnapshot creates a StreamSnapshot.
func makeSnapshot(t *testing.T, namespace, name, spec string) *streamv1.StreamSnapshot {
	t.Helper()
	snap := &streamv1.StreamSnapshot{}
	if err := yaml.UnmarshalStrict([]byte(snapshotYAML(name, spec)), snap); err != nil {
		t.Fatal(err)
	}
	snap.Namespace = namespace
	if err := admin.Create(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	return snap
}

// snapshot reads a StreamSnapshot; nil: it is gone.
func (c *cluster) snapshot(name string) *streamv1.StreamSnapshot {
	c.t.Helper()
	snap := &streamv1.StreamSnapshot{}
	err := admin.Get(c.t.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, snap)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return snap
}

// touch has the operator look at the StreamJob.
func (c *cluster) touch() {
	c.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"touched":%q}}}`, c.clock.Now().String())
	if err := admin.Patch(c.t.Context(), c.job(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		c.t.Fatal(err)
	}
}

// completes waits until a StreamSnapshot is complete.
func (c *cluster) completes(name string) *streamv1.StreamSnapshot {
	c.t.Helper()
	var snap *streamv1.StreamSnapshot
	c.eventually("the StreamSnapshot is complete", func() error {
		if snap = c.snapshot(name); snap == nil || !apimeta.IsStatusConditionTrue(snap.Status.Conditions, streamv1.ConditionReady) {
			return fmt.Errorf("it is %+v", snap)
		}
		return nil
	})
	return snap
}

// TestSnapshot_IsTakenForkedAndDeleted takes a savepoint as an object, starts another job from it by name, and deletes it when nothing needs it any
// more and its job is gone.
func TestSnapshot_IsTakenForkedAndDeleted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.startTwo()
	makeSnapshot(t, c.namespace, "before", "jobRef: {name: j}, reclaimPolicy: Delete")
	snap := c.completes("before")
	saved := c.storage.lineage("j").savepoints()
	if len(saved) != 1 || snap.Status.Path != saved[0].Path || snap.Status.State != streamv1.SnapshotCompleted || snap.Status.Attempts != 1 {
		t.Fatalf("savepoints %+v, status %+v", saved, snap.Status)
	}
	if diff := cmp.Diff([]string{"Savepoint j/1 ssnap-" + string(snap.UID) + "-1"}, c.storage.asked("Savepoint ")); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	c.edit(state(streamv1.StateSuspended))
	c.suspended()
	if err := admin.Delete(t.Context(), c.job()); err != nil {
		t.Fatal(err)
	}
	c.gone()

	fork := makeJob(t, c.namespace, "parallelism: 1", bucket, checkpointing, dataflow, "restoreFrom: {snapshot: before}", "state: Suspended")
	c.eventually("it is known who needs it", func() error {
		if err := client.IgnoreNotFound(admin.Delete(t.Context(), c.snapshot("before"))); err != nil {
			return err
		}
		s := c.snapshot("before")
		if s == nil {
			t.Fatal("it was deleted while a StreamJob names it")
		}
		stalled := apimeta.FindStatusCondition(s.Status.Conditions, streamv1.ConditionStalled)
		if stalled == nil || stalled.Status != metav1.ConditionTrue || stalled.Reason != streamv1.ReasonSnapshotInUse || !strings.Contains(stalled.Message, "StreamJob "+fork.Name) {
			return fmt.Errorf("it is %+v", s.Status)
		}
		return nil
	})
	if err := admin.Delete(t.Context(), c.job()); err != nil {
		t.Fatal(err)
	}
	c.gone()
	c.eventually("it is gone", func() error {
		if c.snapshot("before") != nil {
			return errors.New("it is there")
		}
		return nil
	})
	if got := c.storage.asked("Agent remove"); len(got) != 1 || !strings.Contains(got[0], saved[0].Path) {
		t.Errorf("agents were asked for %v", got)
	}
}

// TestSnapshot_AJobWaitsForTheSnapshotThatItNames starts from it once it is there, and from nothing else.
func TestSnapshot_AJobWaitsForTheSnapshotThatItNames(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("parallelism: 1", bucket, checkpointing, dataflow, "restoreFrom: {snapshot: old}")
	c.until("it says what is missing", has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonRestoreNotFound))
	if job := c.job(); job.Status.Deployment != nil || len(c.storage.started()) != 0 {
		t.Fatalf("it was started: %+v", job.Status)
	}
	c.storage.retain("elsewhere", lineage{id: "old", retired: []contract.SnapshotInfo{{ID: 5, Kind: "Savepoint", Path: "s3://bkt/savepoints/old/"}}})
	makeSnapshot(t, c.namespace, "old", "path: 's3://bkt/savepoints/old', storage: {s3: {bucket: bkt}}")
	c.completes("old")
	job := c.running()
	if job.Status.Restore == nil || job.Status.Restore.RequestedMode != "RestoreFrom" || job.Spec.RestoreFrom.Path != "" || job.Spec.RestoreFrom.Snapshot != "old" {
		t.Errorf("restored from %+v, spec %+v", job.Status.Restore, job.Spec.RestoreFrom)
	}
}

// TestSnapshot_ASchedule makes them and keeps as many as it should.
func TestSnapshot_ASchedule(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.startTwo("savepoint: {schedule: '* * * * *', retention: {count: 1}}")
	seen := map[string]bool{}
	c.eventually("two have been made and one is left", func() error {
		list := &streamv1.StreamSnapshotList{}
		if err := admin.List(t.Context(), list, client.InNamespace(c.namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			seen[list.Items[i].Name] = true
		}
		if len(seen) < 2 {
			c.clock.pass(20 * time.Second)
			c.touch() // the next look would be by the real clock
		}
		if len(seen) < 2 || len(list.Items) != 1 || list.Items[0].Status.State != streamv1.SnapshotCompleted {
			return fmt.Errorf("%d were made, there are %+v", len(seen), list.Items)
		}
		return nil
	})
}
