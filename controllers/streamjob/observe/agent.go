// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// agent notes an agent pod. One that is being deleted counts only if it has left a result.
func (c *collector) agent(pod *corev1.Pod) {
	a := plan.Agent{Name: pod.Name}
	if end := endOf(pod); end != nil || hasEnded(pod) {
		a.Ended = true
		if end != nil {
			a.Result = resultOf(end)
		}
		if a.Result == nil {
			a.Message = howItEnded(pod, end)
		}
	} else {
		p := c.pod(pod)
		a.Trouble, a.Waits = p.Trouble, p.Waits
	}
	if pod.DeletionTimestamp == nil || a.Result != nil {
		c.agents = append(c.agents, a)
	}
}

// endOf returns how the container of an agent ended; nil: it has not, or nobody knows. It is known before the phase of the
// pod changes.
func endOf(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	for i := range pod.Status.ContainerStatuses {
		if end := pod.Status.ContainerStatuses[i].State.Terminated; end != nil {
			return end
		}
	}
	return nil
}

// resultOf returns what an agent reported; nil: nothing. The message of a container that wrote none is the end of its
// log, which may be JSON too.
func resultOf(end *corev1.ContainerStateTerminated) *contract.AgentResult {
	r, err := contract.ParseAgentResult(end.Message)
	if err != nil || r.Task == "" {
		return nil
	}
	return r
}

// howItEnded describes the end of an agent without a result.
func howItEnded(pod *corev1.Pod, end *corev1.ContainerStateTerminated) string {
	if end == nil || (pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "") {
		return podEnded(pod)
	}
	return fmt.Sprintf("container %s", describeEnd(end))
}
