// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"bytes"
	"encoding/json"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/runtime/contract"
)

// revisionHashLength is how many digits the hashes of a spec have.
const revisionHashLength = 10

// Defaults that count as set, so that writing them out changes nothing.
const (
	defaultRegion          = "us-east-1"
	defaultSavepointPrefix = "savepoints"
)

// revisionView is what [RevisionHash] covers. A field that is new must be left out of its JSON while it is unset, so that an
// operator that knows it sees no new version in a spec that does not use it.
type revisionView struct {
	Dataflow        *streamv1.Dataflow      `json:"dataflow,omitempty"`
	Program         *streamv1.Program       `json:"program,omitempty"`
	Parallelism     int32                   `json:"parallelism"`
	MaxParallelism  int32                   `json:"maxParallelism,omitempty"`
	DisableChaining bool                    `json:"disableChaining,omitempty"`
	Workers         int                     `json:"workers"`
	Slots           int                     `json:"slots"`
	PerWorker       *streamv1.Resources     `json:"perWorker,omitempty"`
	Coordinator     *streamv1.Resources     `json:"coordinator,omitempty"`
	CheckpointMode  streamv1.CheckpointMode `json:"checkpointMode,omitempty"`
	Alignment       *streamv1.Alignment     `json:"alignment,omitempty"`
	OnCorruption    streamv1.OnCorruption   `json:"onCorruption,omitempty"`
	StateBackend    *streamv1.StateBackend  `json:"stateBackend,omitempty"`
	Storage         *streamv1.Storage       `json:"storage,omitempty"`
	WorkerPods      *streamv1.PodTemplate   `json:"workerPods,omitempty"`
	CoordinatorPods *streamv1.PodTemplate   `json:"coordinatorPods,omitempty"`
	LostNodeTimeout string                  `json:"lostNodeTimeout,omitempty"`
	Tracing         *streamv1.Tracing       `json:"tracing,omitempty"`
}

// policyView is what [PolicyHash] covers.
type policyView struct {
	Checkpointing         *streamv1.Checkpointing `json:"checkpointing,omitempty"`
	Restart               *streamv1.Restart       `json:"restart,omitempty"`
	RestoreFrom           *streamv1.RestoreFrom   `json:"restoreFrom,omitempty"`
	AllowNonRestoredState bool                    `json:"allowNonRestoredState,omitempty"`
}

// RevisionHash returns a hash of everything in a spec whose change needs a restart of the job. A default that is written
// out gives the same hash as one that is not.
func RevisionHash(spec *streamv1.StreamJobSpec) string {
	spec = spec.DeepCopy()
	v := revisionView{
		Dataflow:        spec.Dataflow,
		Program:         spec.Program,
		Parallelism:     max(1, spec.Parallelism),
		MaxParallelism:  spec.MaxParallelism,
		DisableChaining: spec.DisableChaining,
		PerWorker:       workerResources(spec),
		Coordinator:     coordinatorResources(spec),
		Storage:         withStorageDefaults(spec.Storage),
		StateBackend:    withoutBackendDefaults(spec.StateBackend),
		WorkerPods:      workerTemplate(spec),
		CoordinatorPods: coordinatorTemplate(spec),
		Tracing:         spec.Tracing,
	}
	if timeout := LostNodeTimeout(spec); timeout != DefaultLostNodeTimeout {
		v.LostNodeTimeout = timeout.String()
	}
	v.Workers, v.Slots = jobconfig.Workers(&streamv1.StreamJob{Spec: *spec})
	if c := spec.Checkpointing; c != nil {
		v.CheckpointMode = c.Mode
		if c.Mode == "" {
			v.CheckpointMode = streamv1.ExactlyOnce
		}
		v.Alignment = withoutAlignmentDefaults(c.Alignment)
		if c.OnCorruption != streamv1.FailOnCorruption {
			v.OnCorruption = c.OnCorruption
		}
	}
	return hashOf(v)
}

// PolicyHash returns a hash of everything else in a spec that the configuration of the job holds, which a job takes over
// without a restart: when checkpoints are taken and kept, what follows a failure, and what a start that has not
// succeeded yet may read its state from.
func PolicyHash(spec *streamv1.StreamJobSpec) string {
	v := policyView{Checkpointing: spec.Checkpointing.DeepCopy(), Restart: spec.Restart, RestoreFrom: spec.RestoreFrom}
	if spec.Upgrade != nil {
		v.AllowNonRestoredState = spec.Upgrade.AllowNonRestoredState
	}
	if v.Checkpointing != nil {
		v.Checkpointing.Mode, v.Checkpointing.Alignment, v.Checkpointing.OnCorruption = "", nil, "" // parts of the revision
	}
	return hashOf(v)
}

// withStorageDefaults fills in what is set by default. It changes s.
func withStorageDefaults(s *streamv1.Storage) *streamv1.Storage {
	if s == nil {
		return nil
	}
	if s.S3 != nil && s.S3.Region == "" {
		s.S3.Region = defaultRegion
	}
	if s.Savepoints == nil {
		s.Savepoints = &streamv1.SavepointStorage{Prefix: defaultSavepointPrefix}
	}
	return s
}

// withoutAlignmentDefaults leaves out what is the default. It changes a.
func withoutAlignmentDefaults(a *streamv1.Alignment) *streamv1.Alignment {
	if a == nil || a.Mode == streamv1.AlignedMode {
		return nil
	}
	if a.Mode == streamv1.AlignedThenUnalignedMode && a.Timeout.Duration == 0 {
		a.Timeout.Duration = contract.DefaultAlignmentTimeout
	}
	return a
}

// withoutBackendDefaults leaves out what is the default. It changes b.
func withoutBackendDefaults(b *streamv1.StateBackend) *streamv1.StateBackend {
	if b == nil {
		return nil
	}
	if b.Type == streamv1.MemoryBackend {
		b.Type = ""
	}
	if *b == (streamv1.StateBackend{}) {
		return nil
	}
	return b
}

// workerResources returns the resources of a worker; nil: none are set.
func workerResources(spec *streamv1.StreamJobSpec) *streamv1.Resources {
	if spec.Workers == nil {
		return nil
	}
	return unlessEmpty(spec.Workers.Resources)
}

// coordinatorResources returns the resources of the coordinator; nil: none are set.
func coordinatorResources(spec *streamv1.StreamJobSpec) *streamv1.Resources {
	if spec.Coordinator == nil {
		return nil
	}
	return unlessEmpty(spec.Coordinator.Resources)
}

func unlessEmpty(r *streamv1.Resources) *streamv1.Resources {
	if r == nil || len(r.Requests)+len(r.Limits) == 0 {
		return nil
	}
	return r
}

// hashOf returns a hash of the JSON of v that does not depend on the order of the fields of its types.
func hashOf(v any) string {
	return digest(canonical(v))[:revisionHashLength]
}

// canonical returns the JSON of v with all keys in ascending order.
func canonical(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // API types can always be written as JSON
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		panic(err) // it was just written
	}
	text, err = json.Marshal(tree)
	if err != nil {
		panic(err) // it was just read
	}
	return text
}
