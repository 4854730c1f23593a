// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"path"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// snapshot reads a StreamSnapshot; nil when there is none.
func (s *scenario) snapshot(name string) *streamv1.StreamSnapshot {
	s.Helper()
	snap := &streamv1.StreamSnapshot{}
	err := suite.client.Get(s.Context(), types.NamespacedName{Namespace: s.ns, Name: name}, snap)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatalf("reading snapshot %s: %v", name, err)
	}
	return snap
}

// completed waits until a StreamSnapshot is complete and returns it.
func (s *scenario) completed(name string) *streamv1.StreamSnapshot {
	s.Helper()
	var snap *streamv1.StreamSnapshot
	s.eventually("snapshot "+name, func() string {
		snap = s.snapshot(name)
		switch {
		case snap == nil:
			return "there is none"
		case snap.Status.State != streamv1.SnapshotCompleted || !apimeta.IsStatusConditionTrue(snap.Status.Conditions, streamv1.ConditionReady):
			return fmt.Sprintf("it is %+v", snap.Status)
		}
		return ""
	})
	return snap
}

// files says how many objects a path in the bucket's state folder has.
func (s *scenario) files(location string) int {
	s.Helper()
	_, below, ok := strings.Cut(strings.TrimSuffix(location, "/_metadata"), s.ns+"/state/")
	if !ok {
		s.Fatalf("%s isn't below %s/state", location, s.ns)
	}
	return len(s.list(path.Join(s.ns, "state", below)))
}

// TestSnapshots_OutliveTheirJob takes snapshots as objects, forks a job from one, and deletes them when no job is left that could.
func TestSnapshots_OutliveTheirJob(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "snapshots")
	job := s.start(s.ledger("ledger"))
	object := func(name string, policy streamv1.ReclaimPolicy) *streamv1.StreamSnapshot {
		return &streamv1.StreamSnapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
			Spec:       streamv1.StreamSnapshotSpec{JobRef: &streamv1.JobReference{Name: job.Name}, ReclaimPolicy: policy},
		}
	}
	s.create(object("kept", streamv1.ReclaimRetain))
	s.create(object("passing", streamv1.ReclaimDelete))
	kept, passing := s.completed("kept"), s.completed("passing")
	t.Logf("kept: %+v", kept.Status)
	if kept.Status.Path == passing.Status.Path || kept.Status.SizeBytes == 0 || kept.Status.CheckpointID == 0 {
		t.Errorf("the snapshots are %+v and %+v", kept.Status, passing.Status)
	}
	if got := len(s.savepoints()); got != 2 {
		t.Errorf("there are %d savepoints for two snapshots", got)
	}

	fork := s.ledger("fork")
	fork.Spec.RestoreFrom = &streamv1.RestoreFrom{Snapshot: "kept"}
	s.start(fork)
	if r := s.job("fork").Status.Restore; r == nil || strings.TrimSuffix(r.Path, "/") != strings.TrimSuffix(kept.Status.Path, "/") {
		t.Errorf("the fork started from %+v, want %s", r, kept.Status.Path)
	}
	s.progress(s.job("fork"))
	job = s.progress(s.job("ledger"))
	s.remove("fork")
	s.finish("ledger") // the fork has left the rows of the first one alone
	s.remove("ledger")

	for _, name := range []string{"kept", "passing"} {
		if err := suite.client.Delete(t.Context(), s.snapshot(name)); err != nil {
			t.Fatal(err)
		}
		s.eventually("snapshot "+name+" to be deleted", func() string {
			if snap := s.snapshot(name); snap != nil {
				return fmt.Sprintf("it is %+v", snap.Status)
			}
			return ""
		})
	}
	if s.files(kept.Status.Path) == 0 {
		t.Errorf("the files of the snapshot to be retained are gone")
	}
	if n := s.files(passing.Status.Path); n != 0 {
		t.Errorf("%d files of the snapshot to be deleted are left", n)
	}
}

// TestSnapshots_BySchedule takes one a minute and keeps one.
func TestSnapshots_BySchedule(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "schedule")
	job := s.ledger("ledger")
	job.Spec.Savepoint = &streamv1.Savepoint{Schedule: "* * * * *", Retention: &streamv1.SavepointRetention{Count: 1}}
	s.start(job)
	one := s.completed(s.onlySnapshot(""))
	t.Logf("%s: %+v", one.Name, one.Status)
	two := s.completed(s.onlySnapshot(one.Name))
	t.Logf("%s: %+v", two.Name, two.Status)
	if n := s.files(one.Status.Path); n != 0 {
		t.Errorf("%d files of the snapshot before are left", n)
	}
	if s.files(two.Status.Path) == 0 {
		t.Errorf("the snapshot that is kept has no files")
	}
	s.finish("ledger")
}

// onlySnapshot waits until the namespace has one StreamSnapshot only, and that is not the given one; it returns its name.
func (s *scenario) onlySnapshot(not string) (name string) {
	s.Helper()
	s.eventually("one snapshot, not "+not, func() string {
		list := &streamv1.StreamSnapshotList{}
		if err := suite.client.List(s.Context(), list, client.InNamespace(s.ns)); err != nil {
			return err.Error()
		}
		var names []string
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		if len(names) != 1 || names[0] == not {
			return "there are " + join(names)
		}
		name = names[0]
		return ""
	})
	return name
}
