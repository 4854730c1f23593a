// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// TestConfigMap_SeparatesJobsOfOneBucket gives jobs of several namespaces the same bucket and prefix: namespace and name, which hold no slash, make the
// paths of their state differ, and none lies within that of another.
func TestConfigMap_SeparatesJobsOfOneBucket(t *testing.T) {
	seen := map[[2]string]bool{}
	for _, who := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "b-c"}, {"a-b", "c"}, {"ab", "c"}, {"a", "bc"}} {
		job := onS3()
		job.Namespace, job.Name = who[0], who[1]
		ac, err := ConfigMap(job, 1, NewRevision(job, settings, "", "x"))
		if err != nil {
			t.Fatal(err)
		}
		var config contract.JobConfig
		if err := json.Unmarshal([]byte(ac.Data[JobKey]), &config); err != nil {
			t.Fatal(err)
		}
		if got := [2]string{config.Namespace, config.Name}; got != who || seen[got] {
			t.Errorf("StreamJob %v has its state under %v", who, got)
		}
		seen[who] = true
		if *ac.Namespace != who[0] {
			t.Errorf("its config map is in namespace %s", *ac.Namespace)
		}
	}
}

// TestPods_NameSecretsOfTheirOwnNamespaceOnly finds each secret that pods use: all by name, in the namespace of the StreamJob, and in each pod only
// those of its component.
func TestPods_NameSecretsOfTheirOwnNamespaceOnly(t *testing.T) {
	job := withTemplates()
	set := children(t, job, 1)
	pods := map[string]corev1.PodSpec{
		CoordinatorComponent: typed[corev1.PodTemplateSpec](t, set.Coordinator.Spec.Template).Spec,
		WorkerComponent:      typed[corev1.PodTemplateSpec](t, set.Workers.Spec.Template).Spec,
		AgentComponent:       agent(t, job, AgentOptions{Name: "a", Task: plan.CheckTask, Revision: 1, Grant: 1}).Spec,
	}
	if *set.Coordinator.Namespace != job.Namespace || *set.Workers.Namespace != job.Namespace {
		t.Error("pods are made in another namespace")
	}
	for component, pod := range pods {
		allowed := map[string]bool{"minio": true, "keys": true, SecretName(job.Name, component): true}
		for _, name := range secretsOf(pod) {
			if !allowed[name] {
				t.Errorf("the pod of the %s uses secret %s", component, name)
			}
		}
	}
	if len(secretsOf(pods[WorkerComponent])) < 4 {
		t.Error("the test finds no secrets")
	}
}

// secretsOf returns the names of the secrets that a pod uses.
func secretsOf(pod corev1.PodSpec) []string {
	var out []string
	for _, v := range pod.Volumes {
		if v.Secret != nil {
			out = append(out, v.Secret.SecretName)
		}
	}
	for _, c := range append(pod.Containers, pod.InitContainers...) {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				out = append(out, e.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil {
				out = append(out, e.SecretRef.Name)
			}
		}
	}
	return out
}
