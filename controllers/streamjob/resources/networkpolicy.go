// SPDX-License-Identifier: Apache-2.0

package resources

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// scrapes is the label, with the value enabled, of namespaces from where metrics are collected.
const scrapes = "metrics"

// NetworkPolicyName returns the name of the network policy of a job.
func NetworkPolicyName(job string) string { return job + "-isolated" }

// IsIsolated says whether a job has a network policy.
func IsIsolated(spec *streamv1.StreamJobSpec) bool {
	return spec.NetworkPolicy == streamv1.NetworkPolicyIsolated
}

// NetworkPolicy returns what lets only pods of the same job reach each other, the operator the control API, and who collects metrics the
// port for that. Nothing is said about where pods may go: sources and sinks are anywhere. Checks of the kubelet always pass. operator is the
// namespace of the operator; empty: the operator is anywhere.
func NetworkPolicy(job *streamv1.StreamJob, operator string) *networkingv1ac.NetworkPolicyApplyConfiguration {
	namespaces := metav1ac.LabelSelector()
	if operator != "" {
		namespaces.WithMatchLabels(map[string]string{corev1.LabelMetadataName: operator})
	}
	same := networkingv1ac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(Selector(job.Name)))
	manager := networkingv1ac.NetworkPolicyPeer().WithNamespaceSelector(namespaces).
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{
			"app.kubernetes.io/name": "weir", "app.kubernetes.io/component": "manager",
		}))
	scraper := networkingv1ac.NetworkPolicyPeer().
		WithNamespaceSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{scrapes: "enabled"}))
	return networkingv1ac.NetworkPolicy(NetworkPolicyName(job.Name), job.Namespace).
		WithLabels(Selector(job.Name)).
		WithOwnerReferences(Owner(job)).
		WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(Selector(job.Name))).
			WithPolicyTypes(networkingv1.PolicyTypeIngress).
			WithIngress(
				networkingv1ac.NetworkPolicyIngressRule().WithFrom(same).
					WithPorts(policyPort(ControlPort), policyPort(DataPort), policyPort(APIPort)),
				networkingv1ac.NetworkPolicyIngressRule().WithFrom(manager).WithPorts(policyPort(APIPort)),
				networkingv1ac.NetworkPolicyIngressRule().WithFrom(scraper).WithPorts(policyPort(HealthPort)),
			))
}

func policyPort(port int32) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	return networkingv1ac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(port))
}
