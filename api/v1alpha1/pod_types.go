// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
)

// Workers says how many workers run the job and what each needs.
//
// +kubebuilder:validation:MinProperties=1
type Workers struct {
	// replicas is the number of workers. Unset means as many as the largest parallelism needs with slotsPerWorker
	// slots each, and one if that is unset too.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	Replicas int32 `json:"replicas,omitempty"`

	// slotsPerWorker is the number of slots of each worker. A slot runs one parallel instance of every operator.
	// Unset means as many as the largest parallelism needs on the given number of workers.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	SlotsPerWorker int32 `json:"slotsPerWorker,omitempty"`

	// resources are the requests and limits of each worker. Unset means none, except what the namespace says.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// lostNodeTimeout is how long the pods of the job, that of the coordinator included, stay with a node that stopped answering. Then they are
	// replaced elsewhere, and what may still run of them is shut out of the storage. Unset means 30s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="lostNodeTimeout must be between 1s and 24h"
	LostNodeTimeout metav1.Duration `json:"lostNodeTimeout,omitempty,omitzero"`

	// podTemplate is added to the pods of the workers, whose container is named worker. Unset means nothing.
	// +optional
	PodTemplate *PodTemplate `json:"podTemplate,omitempty"`
}

// Coordinator says what the pod of the coordinator needs.
//
// +kubebuilder:validation:MinProperties=1
type Coordinator struct {
	// resources are the requests and limits of the coordinator. Unset means none, except what the namespace says.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// podTemplate is added to the pod of the coordinator, whose container is named coordinator, and without its sidecars to the short-lived
	// pods that check an upgrade or work on the storage. Unset means nothing.
	// +optional
	PodTemplate *PodTemplate `json:"podTemplate,omitempty"`
}

// Resources are compute resources of a container.
//
// +kubebuilder:validation:MinProperties=1
type Resources struct {
	// requests is what a node must have free.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Requests corev1.ResourceList `json:"requests,omitempty"`

	// limits is what the container may use at most.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Limits corev1.ResourceList `json:"limits,omitempty"`
}

// NetworkPolicyMode says who reaches the pods of a job.
//
// +kubebuilder:validation:Enum=None;Isolated
type NetworkPolicyMode string

const (
	// NetworkPolicyNone makes no network policy.
	NetworkPolicyNone NetworkPolicyMode = "None"
	// NetworkPolicyIsolated lets only pods of the same job, the operator, and who scrapes metrics reach the pods of the job.
	NetworkPolicyIsolated NetworkPolicyMode = "Isolated"
)

// PodTemplate is what a user adds to the pods of a component. What the engine depends on stays as the operator makes it: its image, command and
// arguments, its ports, its certificates and configuration, and that containers run without privileges.
//
// +kubebuilder:validation:MinProperties=1
type PodTemplate struct {
	// labels for the pods, not below stream.weir.dev.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]ShortText `json:"labels,omitempty"`

	// annotations for the pods, not below stream.weir.dev.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]LongText `json:"annotations,omitempty"`

	// nodeSelector is the labels that a node must have.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]ShortText `json:"nodeSelector,omitempty"`

	// affinity is that of a Kubernetes pod. The operator checks it, not the schema.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	Affinity *kruntime.RawExtension `json:"affinity,omitempty"`

	// tolerations are added to those for lost nodes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// topologySpreadConstraints spread the pods over zones or nodes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	TopologySpreadConstraints []TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// priorityClassName of the pods. Unset means that of the cluster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// serviceAccountName of the pods. Unset means default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// serviceAccountToken Mounted gives the pods a token of serviceAccountName. Unset means None.
	// +optional
	// +kubebuilder:validation:Enum=None;Mounted
	ServiceAccountToken string `json:"serviceAccountToken,omitempty"`

	// imagePullSecrets are the secrets with which images are pulled.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	ImagePullSecrets []SecretReference `json:"imagePullSecrets,omitempty"`

	// terminationGracePeriodSeconds is how long a pod has to flush and end; workers wait for a checkpoint until 5 s before. Unset means 30, or 10 for versions of older operators.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds int32 `json:"terminationGracePeriodSeconds,omitempty"`

	// volumes can be mounted by the containers below.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Volumes []PodVolume `json:"volumes,omitempty"`

	// containers by name: that of the engine's container is added to it, others run beside it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Containers []PodContainer `json:"containers,omitempty"`

	// initContainers run one after the other before the containers.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	InitContainers []InitContainer `json:"initContainers,omitempty"`
}

// ShortText is a short text.
//
// +kubebuilder:validation:MaxLength=253
type ShortText string

// LongText is a text.
//
// +kubebuilder:validation:MaxLength=4096
type LongText string

// PodContainer is a container, or what is added to the engine's.
type PodContainer struct {
	// name of the container.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// image of a container of one's own.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^\S+$`
	Image string `json:"image,omitempty"`

	// imagePullPolicy as in Kubernetes.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// command in place of the entry point.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Command []LongText `json:"command,omitempty"`

	// args are handed to it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []LongText `json:"args,omitempty"`

	// env are environment variables.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Env []EnvVar `json:"env,omitempty"`

	// envFrom makes variables of all keys of config maps and secrets.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	EnvFrom []EnvFrom `json:"envFrom,omitempty"`

	// ports that the container listens on, besides those of the engine.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Ports []PodPort `json:"ports,omitempty"`

	// resources of a container of one's own.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// volumeMounts mount volumes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
}

// InitContainer runs before the containers of the pod.
type InitContainer struct {
	// name of the container.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// image of the container.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^\S+$`
	Image string `json:"image,omitempty"`

	// command in place of the entry point.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Command []LongText `json:"command,omitempty"`

	// args are handed to it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Args []LongText `json:"args,omitempty"`

	// env are environment variables.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Env []EnvVar `json:"env,omitempty"`

	// resources of the container.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// volumeMounts mount volumes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
}

// EnvVar is a variable.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.value) && has(self.valueFrom))",message="set value or valueFrom, not both"
type EnvVar struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z][-._a-zA-Z0-9]*$`
	Name string `json:"name,omitempty"`

	// value in plain text, which all who read config maps see: secrets belong into valueFrom.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`

	// valueFrom is where the value comes from.
	// +optional
	ValueFrom *EnvSource `json:"valueFrom,omitempty"`
}

// EnvSource is where a value comes from.
//
// +kubebuilder:validation:ExactlyOneOf=configMapKeyRef;secretKeyRef;fieldRef
type EnvSource struct {
	// configMapKeyRef is in a config map.
	// +optional
	ConfigMapKeyRef *KeyReference `json:"configMapKeyRef,omitempty"`

	// secretKeyRef is in a secret.
	// +optional
	SecretKeyRef *KeyReference `json:"secretKeyRef,omitempty"`

	// fieldRef is a field of the pod.
	// +optional
	FieldRef *FieldReference `json:"fieldRef,omitempty"`
}

// KeyReference names a key of a config map or secret in the namespace of the job.
type KeyReference struct {
	// name of it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key in it.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`

	// optional: start without it.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// FieldReference names a field of the pod.
type FieldReference struct {
	// fieldPath, such as metadata.name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	FieldPath string `json:"fieldPath,omitempty"`
}

// EnvFrom makes variables of all keys.
//
// +kubebuilder:validation:ExactlyOneOf=configMapRef;secretRef
type EnvFrom struct {
	// prefix is put before the names.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Prefix string `json:"prefix,omitempty"`

	// configMapRef is a config map.
	// +optional
	ConfigMapRef *ObjectReference `json:"configMapRef,omitempty"`

	// secretRef is a secret.
	// +optional
	SecretRef *ObjectReference `json:"secretRef,omitempty"`
}

// ObjectReference names an object in the namespace of the job.
type ObjectReference struct {
	// name of it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// optional: start without it.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// PodPort is a port that a container listens on.
type PodPort struct {
	// name of the port. Unset means that it has none.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// containerPort is its number.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	ContainerPort int32 `json:"containerPort,omitempty"`

	// protocol of the port. Unset means TCP.
	// +optional
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP
	Protocol corev1.Protocol `json:"protocol,omitempty"`
}

// VolumeMount mounts a volume.
type VolumeMount struct {
	// name of the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// mountPath is absolute.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^/[^:]*$`
	MountPath string `json:"mountPath,omitempty"`

	// subPath of the volume to mount. Unset means all of it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	SubPath string `json:"subPath,omitempty"`

	// readOnly forbids writing.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`
}

// PodVolume is a volume of the pods.
//
// +kubebuilder:validation:ExactlyOneOf=configMap;secret;emptyDir;persistentVolumeClaim;ephemeral
type PodVolume struct {
	// name of the volume.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// configMap has a file for each key of a config map.
	// +optional
	ConfigMap *ObjectReference `json:"configMap,omitempty"`

	// secret has a file for each key of a secret.
	// +optional
	Secret *ObjectReference `json:"secret,omitempty"`

	// emptyDir is a directory that is as old as the pod.
	// +optional
	EmptyDir *EmptyDirVolume `json:"emptyDir,omitempty"`

	// persistentVolumeClaim is a claim in the namespace of the job.
	// +optional
	PersistentVolumeClaim *ClaimVolume `json:"persistentVolumeClaim,omitempty"`

	// ephemeral is a claim that is made for each pod and goes with it.
	// +optional
	Ephemeral *EphemeralVolume `json:"ephemeral,omitempty"`
}

// EmptyDirVolume is a directory that is as old as the pod.
type EmptyDirVolume struct {
	// medium is Memory, or unset for the disk of the node.
	// +optional
	// +kubebuilder:validation:Enum=Memory
	Medium corev1.StorageMedium `json:"medium,omitempty"`

	// sizeLimit is how large it may become. Unset means no limit.
	// +optional
	SizeLimit *resource.Quantity `json:"sizeLimit,omitempty"`
}

// ClaimVolume is a persistent volume claim.
type ClaimVolume struct {
	// claimName names it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClaimName string `json:"claimName,omitempty"`

	// readOnly forbids writing.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`
}

// EphemeralVolume is a claim, for one pod, of the access mode ReadWriteOnce.
type EphemeralVolume struct {
	// storageClassName. Unset means that of the cluster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	StorageClassName string `json:"storageClassName,omitempty"`

	// size is how much it asks for.
	// +required
	Size *resource.Quantity `json:"size,omitempty"`
}

// Toleration lets pods onto nodes with a taint.
type Toleration struct {
	// key of the taint. Unset means every taint, with operator Exists.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	Key string `json:"key,omitempty"`

	// operator is Exists or Equal. Unset means Equal.
	// +optional
	// +kubebuilder:validation:Enum=Exists;Equal
	Operator corev1.TolerationOperator `json:"operator,omitempty"`

	// value of the taint, for Equal.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`

	// effect of the taint. Unset means each.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect corev1.TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds for NoExecute. Unset means for ever.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// TopologySpreadConstraint spreads the pods of the component.
type TopologySpreadConstraint struct {
	// maxSkew is how many more pods one domain may have than another.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MaxSkew int32 `json:"maxSkew,omitempty"`

	// topologyKey is a label of nodes, such as topology.kubernetes.io/zone.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	TopologyKey string `json:"topologyKey,omitempty"`

	// whenUnsatisfiable is DoNotSchedule or ScheduleAnyway.
	// +required
	// +kubebuilder:validation:Enum=DoNotSchedule;ScheduleAnyway
	WhenUnsatisfiable corev1.UnsatisfiableConstraintAction `json:"whenUnsatisfiable,omitempty"`
}

// ImageReport is the image that the pods of the deployed version run.
type ImageReport struct {
	// reference is the image as the pods name it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Reference string `json:"reference,omitempty"`

	// digest is what the node of the coordinator made of it: the content that runs, whatever becomes of the tag.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Digest string `json:"digest,omitempty"`

	// deviatingPod is a pod that runs another digest of the same reference, because the tag was moved in between. Absent: all run the same.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DeviatingPod string `json:"deviatingPod,omitempty"`
}

// EffectiveReport is what is in force for the deployed version, with what the operator's configuration adds to the spec.
type EffectiveReport struct {
	// image of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// storage is where checkpoints go.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Storage string `json:"storage,omitempty"`

	// savepoints is where savepoints go.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Savepoints string `json:"savepoints,omitempty"`

	// stateBackend says how keyed state is kept and written.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	StateBackend string `json:"stateBackend,omitempty"`

	// checkpointInterval is the time between checkpoints. Absent: there are none.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	CheckpointInterval string `json:"checkpointInterval,omitempty"`

	// checkpointTimeout is how long one may take.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	CheckpointTimeout string `json:"checkpointTimeout,omitempty"`

	// retainedCheckpoints is how many are kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RetainedCheckpoints int32 `json:"retainedCheckpoints,omitempty"`

	// restart is the restart strategy.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Restart string `json:"restart,omitempty"`

	// workers are the resources of each worker.
	// +optional
	Workers *Resources `json:"workers,omitempty"`

	// fromOperator names the fields that come from the operator's configuration.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	FromOperator []string `json:"fromOperator,omitempty"`
}
