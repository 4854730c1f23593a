// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// engineCommand is the engine in the image of Weir. The image of a program has its binary as entry point.
	engineCommand = "/engine"
	// userID is the user, and the group, of all pods.
	userID = 65532

	configDirectory = "/etc/weir"
	jobDirectory    = configDirectory + "/job"
	jobFile         = jobDirectory + "/" + JobKey
	tlsDirectory    = configDirectory + "/tls"
	temporary       = "/tmp"
	terminationLog  = contract.TerminationLog

	jobVolume       = "job"
	tlsVolume       = "tls"
	temporaryVolume = "tmp"
	storageVolume   = "storage"
	localVolume     = "local"
	localDirectory  = "/var/lib/weir"

	// DefaultLostNodeTimeout is how long pods stay bound to a node that stopped answering when workers.lostNodeTimeout is unset.
	DefaultLostNodeTimeout = 30 * time.Second
	// endSeconds is how long a pod has to end by itself; flushSeconds what pods that serve have since [FormFlush].
	endSeconds   = 10
	flushSeconds = 30
	// readySeconds is how often a pod is asked whether it is ready since [FormCalm].
	readySeconds = 5

	podIPVariable   = "POD_IP"
	podNameVariable = "POD_NAME"
)

// Keys of the secret that storage.s3.credentialsSecretRef names, and the environment variables that they become.
const (
	accessKeyID     = "AWS_ACCESS_KEY_ID"
	secretAccessKey = "AWS_SECRET_ACCESS_KEY" //nolint:gosec // the name of a variable, no secret
	sessionToken    = "AWS_SESSION_TOKEN"     //nolint:gosec // the name of a variable, no secret
)

// podSpec returns what the pods of all components have in common, around their only container.
func podSpec(r Revision, container *corev1ac.ContainerApplyConfiguration) *corev1ac.PodSpecApplyConfiguration {
	container.WithImage(r.Image).
		WithTerminationMessagePath(terminationLog).
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(corev1ac.VolumeMount().WithName(temporaryVolume).WithMountPath(temporary))
	if r.ImagePullPolicy != "" {
		container.WithImagePullPolicy(r.ImagePullPolicy)
	}
	if r.Spec.Program == nil {
		container.WithCommand(engineCommand)
	}
	pod := corev1ac.PodSpec().
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(endSeconds).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(userID).
			WithRunAsGroup(userID).
			WithFSGroup(userID).
			WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithTolerations(lostNode(corev1.TaintNodeNotReady, &r.Spec), lostNode(corev1.TaintNodeUnreachable, &r.Spec)).
		WithVolumes(corev1ac.Volume().WithName(temporaryVolume).WithEmptyDir(corev1ac.EmptyDirVolumeSource()))
	withStorage(pod, container, r.Spec.Storage)
	return pod.WithContainers(container)
}

// lostNode tolerates a taint of a node that stopped answering for a while.
func lostNode(taint string, spec *streamv1.StreamJobSpec) *corev1ac.TolerationApplyConfiguration {
	return corev1ac.Toleration().
		WithKey(taint).
		WithOperator(corev1.TolerationOpExists).
		WithEffect(corev1.TaintEffectNoExecute).
		WithTolerationSeconds(int64(LostNodeTimeout(spec).Seconds()))
}

// LostNodeTimeout returns how long the pods of a job stay with a node that stopped answering.
func LostNodeTimeout(spec *streamv1.StreamJobSpec) time.Duration {
	if w := spec.Workers; w != nil && w.LostNodeTimeout.Duration > 0 {
		return w.LostNodeTimeout.Duration
	}
	return DefaultLostNodeTimeout
}

// withStorage gives a pod what it needs to reach the storage of its job: credentials, or the volume.
func withStorage(pod *corev1ac.PodSpecApplyConfiguration, container *corev1ac.ContainerApplyConfiguration, s *streamv1.Storage) {
	if s == nil {
		return
	}
	if s.S3 != nil && s.S3.CredentialsSecretRef != nil {
		secret := s.S3.CredentialsSecretRef.Name
		container.WithEnv(
			fromSecret(secret, accessKeyID, false),
			fromSecret(secret, secretAccessKey, false),
			fromSecret(secret, sessionToken, true),
		)
	}
	if s.Volume != nil {
		pod.WithVolumes(corev1ac.Volume().WithName(storageVolume).
			WithPersistentVolumeClaim(corev1ac.PersistentVolumeClaimVolumeSource().WithClaimName(s.Volume.ClaimName)))
		container.WithVolumeMounts(corev1ac.VolumeMount().WithName(storageVolume).WithMountPath(s.Volume.Path))
	}
}

// withLocalCopies gives the pod of a worker a place for copies of state files, which outlives the container but not the pod.
func withLocalCopies(pod *corev1ac.PodSpecApplyConfiguration) {
	pod.WithVolumes(corev1ac.Volume().WithName(localVolume).WithEmptyDir(corev1ac.EmptyDirVolumeSource()))
	pod.Containers[0].WithArgs("--local-dir", localDirectory).
		WithVolumeMounts(corev1ac.VolumeMount().WithName(localVolume).WithMountPath(localDirectory))
}

func fromSecret(secret, key string, optional bool) *corev1ac.EnvVarApplyConfiguration {
	selector := corev1ac.SecretKeySelector().WithName(secret).WithKey(key)
	if optional {
		selector.WithOptional(true)
	}
	return corev1ac.EnvVar().WithName(key).WithValueFrom(corev1ac.EnvVarSource().WithSecretKeyRef(selector))
}

// fromField returns an environment variable with a field of the pod.
func fromField(name, field string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).
		WithValueFrom(corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithFieldPath(field)))
}

// withJob mounts the configuration of the job, from the config map of a grant.
func withJob(pod *corev1ac.PodSpecApplyConfiguration, configMap string) {
	pod.WithVolumes(corev1ac.Volume().WithName(jobVolume).WithConfigMap(corev1ac.ConfigMapVolumeSource().
		WithName(configMap).
		WithItems(corev1ac.KeyToPath().WithKey(JobKey).WithPath(JobKey))))
	pod.Containers[0].WithVolumeMounts(corev1ac.VolumeMount().WithName(jobVolume).WithMountPath(jobDirectory).WithReadOnly(true))
}

// withTLS mounts the certificate of a component.
func withTLS(pod *corev1ac.PodSpecApplyConfiguration, job, component string) {
	pod.WithVolumes(corev1ac.Volume().WithName(tlsVolume).WithSecret(corev1ac.SecretVolumeSource().
		WithSecretName(SecretName(job, component)).
		WithDefaultMode(0o440)))
	pod.Containers[0].WithVolumeMounts(corev1ac.VolumeMount().WithName(tlsVolume).WithMountPath(tlsDirectory).WithReadOnly(true))
}

// resourcesOf returns the resources of a container; nil: none are set.
func resourcesOf(r *streamv1.Resources) *corev1ac.ResourceRequirementsApplyConfiguration {
	if unlessEmpty(r) == nil {
		return nil
	}
	out := corev1ac.ResourceRequirements()
	if len(r.Requests) > 0 {
		out.WithRequests(r.Requests)
	}
	if len(r.Limits) > 0 {
		out.WithLimits(r.Limits)
	}
	return out
}
