// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
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
