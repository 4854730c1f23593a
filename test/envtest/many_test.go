// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"

	. "github.com/onsi/gomega"
)

// TestOperator_ManyAtOnce starts twenty jobs at once, ten each of the same names in two namespaces: all become Ready, none gets in the
// way of another, and at rest the operator asks nothing.
func TestOperator_ManyAtOnce(t *testing.T) {
	t.Parallel()
	const each = 10
	worlds := []*cluster{newCluster(t), newCluster(t)}
	o := worlds[0].operate(alsoIn(worlds[1]))
	var want []string
	for i := range each {
		for _, c := range worlds {
			makeNamed(t, types.NamespacedName{Namespace: c.namespace, Name: fmt.Sprintf("j%d", i)}, "parallelism: 2", bucket, checkpointing, dataflow)
		}
		want = append(want, fmt.Sprintf("j%d-1-coordinator", i))
	}
	for _, c := range worlds {
		c.eventually("all jobs run", func() error {
			var list streamv1.StreamJobList
			if err := admin.List(t.Context(), &list, client.InNamespace(c.namespace)); err != nil {
				return err
			}
			for i := range list.Items {
				if err := has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(&list.Items[i]); err != nil {
					return fmt.Errorf("%s: %w", list.Items[i].Name, err)
				}
			}
			if len(list.Items) != each {
				return fmt.Errorf("there are %d", len(list.Items))
			}
			return nil
		})
		if diff := cmp.Diff(want, c.children(&appsv1.DeploymentList{})); diff != "" {
			t.Errorf("coordinators (-want +got):\n%s", diff)
		}
		if started := c.storage.started(); len(started) != each {
			t.Errorf("the jobs %v were started", started)
		}
	}
	o.rests(t)
	NewWithT(t).Consistently(o.asked).WithTimeout(4*time.Second).WithPolling(time.Second).Should(BeEmpty(), "requests of twenty jobs at rest")
}

// heldUp keeps the changes of StreamJobs in one namespace waiting until it is released.
type heldUp struct {
	namespace string
	released  chan struct{}
	// waiting is how many wait just now, most how many did at once.
	waiting, most atomic.Int64
}

func (h *heldUp) concerns(r *http.Request) bool {
	return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/namespaces/"+h.namespace+"/streamjobs/")
}

func (h *heldUp) wait(ctx context.Context) {
	n := h.waiting.Add(1)
	defer h.waiting.Add(-1)
	for most := h.most.Load(); n > most && !h.most.CompareAndSwap(most, n); most = h.most.Load() {
	}
	select {
	case <-h.released:
	case <-ctx.Done():
	}
}

// TestOperator_OneNamespaceHoldsUpNoOther has every change in a namespace with many jobs wait: a job of another namespace doesn't wait with them.
func TestOperator_OneNamespaceHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const many = 20
	greedy, modest := newCluster(t), newCluster(t)
	h := &heldUp{namespace: greedy.namespace, released: make(chan struct{})}
	greedy.operate(alsoIn(modest), func(o *operator) { o.held = h })
	for i := range many {
		makeNamed(t, types.NamespacedName{Namespace: greedy.namespace, Name: fmt.Sprintf("j%d", i)}, bucket, checkpointing, dataflow)
	}
	greedy.eventually("as many changes wait as may", func() error {
		if n := h.waiting.Load(); n < perNamespace {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	ready := func(c *cluster, name string) {
		c.eventually(name+" runs", func() error {
			var job streamv1.StreamJob
			if err := admin.Get(t.Context(), types.NamespacedName{Namespace: c.namespace, Name: name}, &job); err != nil {
				return err
			}
			return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(&job)
		})
	}
	makeNamed(t, types.NamespacedName{Namespace: modest.namespace, Name: "alone"}, bucket, checkpointing, dataflow)
	ready(modest, "alone")
	if n := h.most.Load(); n != perNamespace {
		t.Errorf("%d changes of one namespace were under way at once, want %d", n, perNamespace)
	}
	close(h.released)
	for i := range many {
		ready(greedy, fmt.Sprintf("j%d", i))
	}
}
