// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Storage is where checkpoints and savepoints are written.
//
// +kubebuilder:validation:ExactlyOneOf=s3;volume
type Storage struct {
	// s3 is a bucket of an S3 compatible object store. The store must support conditional writes (If-None-Match
	// and If-Match); that is tested when the job starts.
	// +optional
	S3 *S3Storage `json:"s3,omitempty"`

	// volume is a directory.
	// +optional
	Volume *VolumeStorage `json:"volume,omitempty"`

	// savepoints says where savepoints go that are requested without a target of their own.
	// +optional
	Savepoints *SavepointStorage `json:"savepoints,omitempty"`
}

// S3Storage is a bucket of an S3 compatible object store. Credentials are not part of the job: on Kubernetes they come from
// the secret that credentialsSecretRef names, elsewhere from the environment of the process that runs the job
// (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY).
type S3Storage struct {
	// endpoint is a URL, such as https://minio.example.com:9000.
	// Unset means that of AWS for the region.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^https?://[^/?#\s]+$`
	Endpoint string `json:"endpoint,omitempty"`

	// bucket is the name of the bucket. It must exist.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9][a-z0-9.-]*[a-z0-9]$`
	Bucket string `json:"bucket,omitempty"`

	// prefix is put before the names of all objects. Unset means none.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[^/\s]([^\s]*[^/\s])?$`
	// +kubebuilder:validation:XValidation:rule="self.split('/').all(p, p != '' && p != '.' && p != '..') && !self.contains('\\\\') && !self.matches('\\\\p{Cc}')",message="use a relative path of non-empty parts, without parts . and .., backslashes and control characters"
	Prefix string `json:"prefix,omitempty"`

	// region of the bucket. Unset means us-east-1.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+$`
	Region string `json:"region,omitempty"`

	// credentialsSecretRef names the secret, in the namespace of the job, whose keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
	// hold the credentials; AWS_SESSION_TOKEN is taken too if it is there. Only the pods of the job read it. Sources and
	// sinks of the job use the same credentials. Unset means that the store is used without credentials from Kubernetes.
	// +optional
	CredentialsSecretRef *SecretReference `json:"credentialsSecretRef,omitempty"`
}

// SecretReference names a secret in the namespace of the job.
type SecretReference struct {
	// name of the secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
}

// VolumeStorage is a directory that the coordinator and every worker see under the same path.
type VolumeStorage struct {
	// claimName is the persistent volume claim, in the namespace of the job, that is mounted at path. Workers on several nodes need one
	// that can be mounted by many. On Kubernetes it is needed; elsewhere it is ignored.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	ClaimName string `json:"claimName,omitempty"`

	// path is the directory. It is created when it does not exist.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`
}

// SavepointStorage says where savepoints go that are requested without a target of their own.
type SavepointStorage struct {
	// prefix is put before the names of savepoints, inside the same bucket or volume. Unset means
	// "savepoints".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[^/\s]([^\s]*[^/\s])?$`
	// +kubebuilder:validation:XValidation:rule="self.split('/').all(p, p != '' && p != '.' && p != '..') && !self.contains('\\\\') && !self.matches('\\\\p{Cc}')",message="use a relative path of non-empty parts, without parts . and .., backslashes and control characters"
	Prefix string `json:"prefix,omitempty"`
}

// S3Connection says which S3 compatible object store a source or sink uses. Credentials come from the environment of
// the process that runs the job (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY).
//
// +kubebuilder:validation:MinProperties=1
type S3Connection struct {
	// endpoint is a URL, such as https://minio.example.com:9000.
	// Unset means that of AWS for the region.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^https?://[^/?#\s]+$`
	Endpoint string `json:"endpoint,omitempty"`

	// region of the bucket. Unset means us-east-1.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+$`
	Region string `json:"region,omitempty"`
}
