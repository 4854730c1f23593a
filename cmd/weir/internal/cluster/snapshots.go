// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Snapshots returns the StreamSnapshots of a StreamJob, the newest first; of all of them when the name is empty. The StreamJob need not exist.
func (c *Cluster) Snapshots(ctx context.Context, job string) ([]streamv1.StreamSnapshot, error) {
	list := &streamv1.StreamSnapshotList{}
	if err := c.Client.List(ctx, list, client.InNamespace(c.Namespace)); err != nil {
		return nil, c.explain("listing the StreamSnapshots", job, err)
	}
	items := slices.DeleteFunc(list.Items, func(s streamv1.StreamSnapshot) bool {
		return job != "" && s.Labels[streamv1.LabelJob] != job && (s.Spec.JobRef == nil || s.Spec.JobRef.Name != job)
	})
	slices.SortStableFunc(items, func(a, b streamv1.StreamSnapshot) int {
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	return items, nil
}
