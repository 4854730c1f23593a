// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// Agents returns what became of agent pods, by the warnings about them as in [Objects]. One that is being deleted counts only if it has left a result.
func Agents(pods []corev1.Pod, warnings []eventsv1.Event, now time.Time) []plan.Agent {
	c := &collector{now: now, warnings: warnings}
	for i := range pods {
		c.agent(&pods[i])
	}
	return c.agents
}
