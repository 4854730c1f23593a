// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/test/envtest/conditions"
)

const deleteOnCancel = "checkpointing: {interval: 10s, retention: {onCancel: Delete}}"

// leftovers wants that nothing of the job is left but what goes with its owner.
func (c *cluster) leftovers() {
	c.t.Helper()
	c.noPods()
	if services, maps := c.children(&corev1.ServiceList{}), c.children(&corev1.ConfigMapList{}); len(services)+len(maps) > 0 {
		c.t.Errorf("there are %v %v%s", services, maps, c.dump())
	}
}

func TestOperator_Deletes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fields      []string
		checkpoints int
		savepoints  int
	}{
		"checkpoints stay":   {fields: []string{bucket, checkpointing}, checkpoints: 1},
		"checkpoints go":     {fields: []string{bucket, deleteOnCancel}},
		"a savepoint first":  {fields: []string{bucket, checkpointing, "deletionPolicy: Savepoint"}, checkpoints: 1, savepoints: 1},
		"savepoint and none": {fields: []string{bucket, deleteOnCancel, "deletionPolicy: Savepoint"}, savepoints: 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			c.create(append(tc.fields, dataflow)...)
			c.running()
			c.delete()
			c.gone()
			c.leftovers()
			l := c.storage.lineage("j")
			if l.final != "Canceled" || len(l.checkpoints) != tc.checkpoints || len(l.savepoints()) != tc.savepoints || len(c.storage.asked("Cancel")) != 1 {
				t.Errorf("storage holds %+v after %v", l, c.storage.asked(""))
			}
		})
	}
}

// TestOperator_DeletesWithoutStorage has nothing to keep.
func TestOperator_DeletesWithoutStorage(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create(dataflow)
	c.running()
	c.delete()
	c.gone()
	c.leftovers()
}

// TestOperator_DeletesWhatNeverStarted finds nobody to ask, and keeps nothing waiting.
func TestOperator_DeletesWhatNeverStarted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.keepPods(func(*corev1.Pod) *corev1.PodStatus { return &corev1.PodStatus{} })
	c.create(bucket, deleteOnCancel, "deletionPolicy: Savepoint", dataflow)
	c.until("pods are waited for", has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonStarting))
	c.delete()
	c.gone()
	c.leftovers()
}

// TestOperator_DeletesCompleted takes neither a savepoint nor the checkpoints of a job that has ended by itself.
func TestOperator_DeletesCompleted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create(bucket, checkpointing, "deletionPolicy: Savepoint", dataflow)
	c.running()
	c.storage.finish("j")
	c.until("the job has completed", has(streamv1.ConditionCompleted, metav1.ConditionTrue, streamv1.ReasonCompleted))
	c.delete()
	c.gone()
	c.leftovers()
	if l := c.storage.lineage("j"); l.final != "Finished" || len(l.savepoints()) != 0 {
		t.Errorf("storage holds %+v", l)
	}
}

// TestOperator_DeletionWaitsForItsSavepoint keeps the StreamJob and its job until the savepoint is complete, or is no longer asked for.
func TestOperator_DeletionWaitsForItsSavepoint(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		mend       func(*cluster)
		savepoints int
	}{
		"storage is back": {savepoints: 1, mend: func(c *cluster) {
			c.storage.set(func(s *script) { s.savepoint = "" })
			c.pass(time.Minute)
		}},
		"the policy is changed": {mend: func(c *cluster) {
			c.edit(func(spec *streamv1.StreamJobSpec) { spec.DeletionPolicy = streamv1.CancelOnDeletion })
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			c.create(bucket, checkpointing, "deletionPolicy: Savepoint", dataflow)
			c.running()
			c.storage.set(func(s *script) { s.savepoint = "connection refused" })
			c.delete()
			job := c.until("the failure shows", func(job *streamv1.StreamJob) error {
				if got := message(job, streamv1.ConditionReady); !strings.Contains(got, "connection refused") || !strings.Contains(got, "deletionPolicy") {
					return fmt.Errorf("ready says %q", got)
				}
				return has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job)
			})
			if got := conditions.KStatus(job); got != conditions.Terminating {
				t.Errorf("kstatus is %s, want Terminating", got)
			}
			tc.mend(c)
			c.gone()
			c.leftovers()
			if saved := c.storage.lineage("j").savepoints(); len(saved) != tc.savepoints {
				t.Errorf("there are the savepoints %+v, want %d", saved, tc.savepoints)
			}
		})
	}
}

// TestOperator_DisposesByAnAgent deletes the checkpoints of a job whose coordinator does not answer.
func TestOperator_DisposesByAnAgent(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create(bucket, deleteOnCancel, dataflow)
	c.running()
	c.eventually("there is a checkpoint", func() error {
		if len(c.storage.lineage("j").checkpoints) == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	c.storage.set(func(s *script) {
		s.silent = true
		s.dispose = &contract.Problem{Reason: contract.StorageUnavailable, Message: "connection refused"}
	})
	c.delete()
	c.until("the operator has asked", has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonDeleting))
	c.pass(time.Minute)
	c.until("the failure shows", func(job *streamv1.StreamJob) error {
		if got := message(job, streamv1.ConditionReady); !strings.Contains(got, "connection refused") {
			return fmt.Errorf("ready says %q", got)
		}
		return nil
	})
	c.storage.set(func(s *script) { s.dispose = nil })
	c.pass(time.Minute)
	c.gone()
	c.leftovers()
	if l := c.storage.lineage("j"); len(l.checkpoints) != 0 || l.grant < 2 {
		t.Errorf("storage holds %+v", l)
	}
}
