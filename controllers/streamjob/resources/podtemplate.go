// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// tokenMounted is the value of podTemplate.serviceAccountToken that gives pods a token.
const tokenMounted = "Mounted"

// workerTemplate returns what the user adds to the pods of workers; nil: nothing.
func workerTemplate(spec *streamv1.StreamJobSpec) *streamv1.PodTemplate {
	if spec.Workers == nil {
		return nil
	}
	return spec.Workers.PodTemplate
}

// coordinatorTemplate returns what the user adds to the pod of the coordinator, and to agents; nil: nothing.
func coordinatorTemplate(spec *streamv1.StreamJobSpec) *streamv1.PodTemplate {
	if spec.Coordinator == nil {
		return nil
	}
	return spec.Coordinator.PodTemplate
}

// HasTemplates says whether a user adds anything to the pods of a job.
func HasTemplates(spec *streamv1.StreamJobSpec) bool {
	return workerTemplate(spec) != nil || coordinatorTemplate(spec) != nil
}

// merge is one merge of a template into a pod that the operator has made.
type merge struct {
	template *streamv1.PodTemplate
	// component is the name under which the template adds to the container of the engine.
	component string
	// spread are the labels of the pods that topology constraints are about; nil: the pod is on its own.
	spread map[string]string
	// alone leaves out sidecars, for a pod that has to come to an end, and what other pods it is near to: it must find a node beside those that
	// serve.
	alone bool
}

// into adds the template to a pod. What [checkTemplate] accepts never takes the place of something that the operator has set.
func (m merge) into(pod *corev1ac.PodSpecApplyConfiguration) error {
	t := m.template
	if t == nil {
		return nil
	}
	if err := m.schedule(pod); err != nil {
		return err
	}
	if t.ServiceAccountName != "" {
		pod.WithServiceAccountName(t.ServiceAccountName).
			WithAutomountServiceAccountToken(t.ServiceAccountToken == tokenMounted)
	}
	for _, s := range t.ImagePullSecrets {
		pod.WithImagePullSecrets(corev1ac.LocalObjectReference().WithName(s.Name))
	}
	if t.TerminationGracePeriodSeconds > 0 {
		pod.WithTerminationGracePeriodSeconds(int64(t.TerminationGracePeriodSeconds))
	}
	for i := range t.Volumes {
		pod.WithVolumes(volumeOf(&t.Volumes[i]))
	}
	return m.containers(pod)
}

// schedule adds what says where pods run.
func (m merge) schedule(pod *corev1ac.PodSpecApplyConfiguration) error {
	t := m.template
	if len(t.NodeSelector) > 0 {
		pod.WithNodeSelector(texts(t.NodeSelector))
	}
	if t.PriorityClassName != "" {
		pod.WithPriorityClassName(t.PriorityClassName)
	}
	if t.Affinity != nil {
		pod.Affinity = corev1ac.Affinity()
		if err := json.Unmarshal(t.Affinity.Raw, pod.Affinity); err != nil {
			return fmt.Errorf("reading podTemplate.affinity of the %s: %w", m.component, err)
		}
		if m.alone {
			pod.Affinity.PodAffinity, pod.Affinity.PodAntiAffinity = nil, nil
		}
	}
	for i := range t.Tolerations {
		var toleration corev1ac.TolerationApplyConfiguration
		if err := reshape(t.Tolerations[i], &toleration); err != nil {
			return err
		}
		pod.WithTolerations(&toleration)
	}
	if m.spread == nil {
		return nil
	}
	for _, c := range t.TopologySpreadConstraints {
		pod.WithTopologySpreadConstraints(corev1ac.TopologySpreadConstraint().
			WithMaxSkew(c.MaxSkew).WithTopologyKey(c.TopologyKey).WithWhenUnsatisfiable(c.WhenUnsatisfiable).
			WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(m.spread)))
	}
	return nil
}

// containers adds containers, and to the container of the engine, which is the first one.
func (m merge) containers(pod *corev1ac.PodSpecApplyConfiguration) error {
	for i := range m.template.Containers {
		from := &m.template.Containers[i]
		if from.Name == m.component {
			if err := addTo(&pod.Containers[0], from); err != nil {
				return err
			}
			continue
		}
		if m.alone {
			continue
		}
		container, err := sidecar(from)
		if err != nil {
			return err
		}
		pod.WithContainers(container)
	}
	for _, from := range m.template.InitContainers {
		container, err := sidecar(&streamv1.PodContainer{
			Name: from.Name, Image: from.Image, Command: from.Command, Args: from.Args,
			Env: from.Env, Resources: from.Resources, VolumeMounts: from.VolumeMounts,
		})
		if err != nil {
			return err
		}
		pod.WithInitContainers(container)
	}
	return nil
}

// sidecar returns a container of the user's own. It has no more rights than those of the engine, but may write to its own file system.
func sidecar(from *streamv1.PodContainer) (*corev1ac.ContainerApplyConfiguration, error) {
	container := corev1ac.Container().
		WithName(from.Name).
		WithImage(from.Image).
		WithCommand(plain(from.Command)...).
		WithArgs(plain(from.Args)...).
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL")))
	if from.ImagePullPolicy != "" {
		container.WithImagePullPolicy(from.ImagePullPolicy)
	}
	if requirements := resourcesOf(from.Resources); requirements != nil {
		container.WithResources(requirements)
	}
	return container, addTo(container, from)
}

// addTo adds environment, mounts and ports to a container.
func addTo(container *corev1ac.ContainerApplyConfiguration, from *streamv1.PodContainer) error {
	var added struct {
		Env          []*corev1ac.EnvVarApplyConfiguration        `json:"env"`
		EnvFrom      []*corev1ac.EnvFromSourceApplyConfiguration `json:"envFrom"`
		VolumeMounts []*corev1ac.VolumeMountApplyConfiguration   `json:"volumeMounts"`
	}
	if err := reshape(from, &added); err != nil {
		return err
	}
	container.WithEnv(added.Env...).WithEnvFrom(added.EnvFrom...).WithVolumeMounts(added.VolumeMounts...)
	for _, p := range from.Ports {
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP // a part of the key by which the API server merges ports
		}
		port := corev1ac.ContainerPort().WithContainerPort(p.ContainerPort).WithProtocol(protocol)
		if p.Name != "" {
			port.WithName(p.Name)
		}
		container.WithPorts(port)
	}
	return nil
}

// volumeOf returns a volume of the user's own.
func volumeOf(v *streamv1.PodVolume) *corev1ac.VolumeApplyConfiguration {
	out := corev1ac.Volume().WithName(v.Name)
	switch {
	case v.ConfigMap != nil:
		source := corev1ac.ConfigMapVolumeSource().WithName(v.ConfigMap.Name)
		if v.ConfigMap.Optional {
			source.WithOptional(true)
		}
		out.WithConfigMap(source)
	case v.Secret != nil:
		source := corev1ac.SecretVolumeSource().WithSecretName(v.Secret.Name).WithDefaultMode(0o440)
		if v.Secret.Optional {
			source.WithOptional(true)
		}
		out.WithSecret(source)
	case v.EmptyDir != nil:
		source := corev1ac.EmptyDirVolumeSource()
		if v.EmptyDir.Medium != "" {
			source.WithMedium(v.EmptyDir.Medium)
		}
		if v.EmptyDir.SizeLimit != nil {
			source.WithSizeLimit(*v.EmptyDir.SizeLimit)
		}
		out.WithEmptyDir(source)
	case v.PersistentVolumeClaim != nil:
		source := corev1ac.PersistentVolumeClaimVolumeSource().WithClaimName(v.PersistentVolumeClaim.ClaimName)
		if v.PersistentVolumeClaim.ReadOnly {
			source.WithReadOnly(true)
		}
		out.WithPersistentVolumeClaim(source)
	case v.Ephemeral != nil:
		out.WithEphemeral(ephemeral(v.Ephemeral))
	}
	return out
}

func ephemeral(v *streamv1.EphemeralVolume) *corev1ac.EphemeralVolumeSourceApplyConfiguration {
	claim := corev1ac.PersistentVolumeClaimSpec().WithAccessModes(corev1.ReadWriteOnce)
	if v.Size != nil {
		claim.WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: *v.Size}))
	}
	if v.StorageClassName != "" {
		claim.WithStorageClassName(v.StorageClassName)
	}
	return corev1ac.EphemeralVolumeSource().WithVolumeClaimTemplate(corev1ac.PersistentVolumeClaimTemplate().WithSpec(claim))
}

// podTemplate returns a template of pods with the labels that the operator finds them by, and those that the user adds.
func podTemplate(t *streamv1.PodTemplate, own map[string]string, pod *corev1ac.PodSpecApplyConfiguration) *corev1ac.PodTemplateSpecApplyConfiguration {
	out := corev1ac.PodTemplateSpec().WithSpec(pod)
	if t != nil {
		out.WithLabels(texts(t.Labels)).WithAnnotations(texts(t.Annotations))
	}
	return out.WithLabels(own)
}

// reshape turns a value into a type whose JSON has the same form.
func reshape(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("adding a %T to a pod: %w", from, err)
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("adding a %T to a pod: %w", from, err)
	}
	return nil
}

// strict reads JSON into a type that must have all its fields.
func strict(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

func texts[T ~string](m map[string]T) map[string]string {
	out := make(map[string]string, len(m))
	for key, value := range maps.All(m) {
		out[key] = string(value)
	}
	return out
}

func plain[T ~string](list []T) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}
