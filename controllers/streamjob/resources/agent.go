// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"errors"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// AgentOptions say what an agent pod does.
type AgentOptions struct {
	// Name of the pod.
	Name string
	// Task is what it does.
	Task plan.AgentTask
	// Revision is the grant whose stored revision it runs; Grant is the one that it claims the head with.
	Revision, Grant int64
	// Operations are the ids whose outcome it reads.
	Operations []string
	// Against is the revision that is deployed; nil: none is. A check asks for as much room as the new version would when
	// its resources differ from it.
	Against *Revision
}

// AgentPod returns an agent pod that runs a revision.
func AgentPod(job *streamv1.StreamJob, r Revision, o AgentOptions) (*corev1ac.PodApplyConfiguration, error) {
	return nil, errors.ErrUnsupported
}
