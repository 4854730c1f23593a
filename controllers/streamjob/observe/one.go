// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// Agents returns what became of agent pods. One that is being deleted counts only if it has left a result.
func Agents(pods []corev1.Pod, now time.Time) []plan.Agent {
	c := &collector{now: now}
	for i := range pods {
		c.agent(&pods[i])
	}
	return c.agents
}
