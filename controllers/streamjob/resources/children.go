// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"errors"

	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Ports of the pods of a job.
const (
	// ControlPort is where the coordinator serves its workers.
	ControlPort = 6123
	// APIPort is where the coordinator serves the control API.
	APIPort = 8081
	// DataPort is where a worker serves other workers.
	DataPort = 6124
	// HealthPort is where probes and metrics are served.
	HealthPort = 8082
)

// Set is the objects of a grant besides its config map.
type Set struct {
	Service     *corev1ac.ServiceApplyConfiguration
	Coordinator *appsv1ac.DeploymentApplyConfiguration
	Workers     *appsv1ac.StatefulSetApplyConfiguration
}

// Children returns the objects of a grant besides its config map.
func Children(job *streamv1.StreamJob, grant int64, r Revision) (*Set, error) {
	return nil, errors.ErrUnsupported
}
