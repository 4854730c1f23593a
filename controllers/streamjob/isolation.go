// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// applyIsolation makes, keeps or deletes the network policy of the job. It is for all versions and changes none.
func (s *scope) applyIsolation(ctx context.Context) error {
	if !resources.IsIsolated(&s.job.Spec) {
		return s.deleteLive(ctx, ref{kindOf(&networkingv1.NetworkPolicy{}), resources.NetworkPolicyName(s.job.Name)})
	}
	return s.apply(ctx, resources.NetworkPolicy(s.job, s.Settings.OperatorNamespace), &networkingv1.NetworkPolicy{})
}

// rehearse has the API server check the objects of a version that the user has added to, without making any: what it refuses must be
// found while the old version still runs.
func (s *scope) rehearse(ctx context.Context, grant int64, r *resources.Revision) error {
	if !resources.HasTemplates(&r.Spec) {
		return nil
	}
	set, err := resources.Children(s.job, grant, *r)
	if err != nil {
		return err
	}
	for name, config := range map[string]kruntime.ApplyConfiguration{"coordinator": set.Coordinator, "workers": set.Workers} {
		if err := s.Client.Apply(ctx, config, client.FieldOwner(FieldOwner), client.ForceOwnership, client.DryRunAll); err != nil {
			return fmt.Errorf("trying the pods of the %s with what podTemplate adds: %w", name, err)
		}
	}
	return nil
}
