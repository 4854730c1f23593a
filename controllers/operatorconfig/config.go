// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/runtime/contract"
)

// Version and kind of a configuration file.
const (
	APIVersion = "config.weir.dev/v1alpha1"
	Kind       = "OperatorConfig"
)

const (
	// maxSize bounds a file: it comes from a config map.
	maxSize = 1 << 20
	// maxNamespaces bounds how many namespaces have settings of their own.
	maxNamespaces = 10000
)

// OperatorConfig is the content of a configuration file.
type OperatorConfig struct {
	// APIVersion is [APIVersion], Kind is [Kind]. Both are required.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Defaults are in force in all namespaces.
	Defaults Defaults `json:"defaults,omitzero"`
	// Namespaces are in force in single namespaces, by name. A field that is set there takes the place of that of Defaults, whole.
	Namespaces map[string]Defaults `json:"namespaces,omitempty"`
}

// Defaults are in force for StreamJobs that leave the field of the same meaning unset.
type Defaults struct {
	// Image of jobs that are dataflows, and when it is pulled. Unset: those of the operator's flags.
	Image           string            `json:"image,omitempty"`
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// StateBackend is spec.stateBackend.
	StateBackend *streamv1.StateBackend `json:"stateBackend,omitempty"`
	// Storage is spec.storage. It is for jobs that start: one that runs or has state never moves.
	Storage *streamv1.Storage `json:"storage,omitempty"`
	// SavepointPrefix is spec.storage.savepoints.prefix of jobs that have storage, of their own or by default.
	SavepointPrefix string `json:"savepointPrefix,omitempty"`
	// Checkpointing is part of spec.checkpointing.
	Checkpointing *Checkpointing `json:"checkpointing,omitempty"`
	// Restart is spec.restart.
	Restart *streamv1.Restart `json:"restart,omitempty"`
	// WorkerResources is spec.workers.resources.
	WorkerResources *streamv1.Resources `json:"workerResources,omitempty"`
	// Tracing is spec.tracing of jobs whose coordinator's podTemplate doesn't name a collector either.
	Tracing *streamv1.Tracing `json:"tracing,omitempty"`
	// NetworkPolicy is spec.networkPolicy. Unlike the others it reaches running jobs.
	NetworkPolicy streamv1.NetworkPolicyMode `json:"networkPolicy,omitempty"`
}

// Checkpointing is the part of spec.checkpointing that has defaults.
type Checkpointing struct {
	// Interval makes checkpoints be taken of jobs whose spec has no checkpointing at all.
	Interval metav1.Duration `json:"interval,omitzero"`
	// Timeout is spec.checkpointing.timeout of jobs with checkpoints.
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// RetainedCount is spec.checkpointing.retention.count of jobs with checkpoints.
	RetainedCount int32 `json:"retainedCount,omitempty"`
}

// For returns what is in force in a namespace. It is shared and must not be changed. A nil OperatorConfig has no defaults.
func (c *OperatorConfig) For(namespace string) Defaults {
	if c == nil {
		return Defaults{}
	}
	out, own := c.Defaults, c.Namespaces[namespace]
	if own.Image != "" {
		out.Image, out.ImagePullPolicy = own.Image, own.ImagePullPolicy
	}
	replace(&out.StateBackend, own.StateBackend)
	replace(&out.Storage, own.Storage)
	replace(&out.Checkpointing, own.Checkpointing)
	replace(&out.Restart, own.Restart)
	replace(&out.WorkerResources, own.WorkerResources)
	replace(&out.Tracing, own.Tracing)
	if own.SavepointPrefix != "" {
		out.SavepointPrefix = own.SavepointPrefix
	}
	if own.NetworkPolicy != "" {
		out.NetworkPolicy = own.NetworkPolicy
	}
	return out
}

func replace[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

// Apply sets what a spec leaves unset and returns the names of the fields that it has set, ascending. The spec shares nothing with d
// afterwards. The image is no field of a spec: see [Defaults.ImageOf].
func (d Defaults) Apply(spec *streamv1.StreamJobSpec) []string {
	var taken []string
	take := func(field string, unset bool, set func()) {
		if unset {
			set()
			taken = append(taken, field)
		}
	}
	take("stateBackend", d.StateBackend != nil && spec.StateBackend == nil, func() { spec.StateBackend = d.StateBackend.DeepCopy() })
	take("storage", d.Storage != nil && spec.Storage == nil && !stateless(spec), func() { spec.Storage = d.Storage.DeepCopy() })
	take("storage.savepoints.prefix", d.SavepointPrefix != "" && spec.Storage != nil && spec.Storage.Savepoints == nil, func() {
		spec.Storage.Savepoints = &streamv1.SavepointStorage{Prefix: d.SavepointPrefix}
	})
	take("restart", d.Restart != nil && spec.Restart == nil, func() { spec.Restart = d.Restart.DeepCopy() })
	if c := d.Checkpointing; c != nil {
		take("checkpointing.interval", c.Interval.Duration > 0 && spec.Checkpointing == nil, func() {
			spec.Checkpointing = &streamv1.Checkpointing{Interval: c.Interval}
		})
		on := spec.Checkpointing != nil
		take("checkpointing.timeout", on && c.Timeout.Duration > 0 && spec.Checkpointing.Timeout.Duration == 0, func() { spec.Checkpointing.Timeout = c.Timeout })
		take("checkpointing.retention.count", on && c.RetainedCount > 0 && (spec.Checkpointing.Retention == nil || spec.Checkpointing.Retention.Count == 0), func() {
			if spec.Checkpointing.Retention == nil {
				spec.Checkpointing.Retention = &streamv1.Retention{}
			}
			spec.Checkpointing.Retention.Count = c.RetainedCount
		})
	}
	take("workers.resources", d.WorkerResources != nil && (spec.Workers == nil || spec.Workers.Resources == nil), func() {
		if spec.Workers == nil {
			spec.Workers = &streamv1.Workers{}
		}
		spec.Workers.Resources = d.WorkerResources.DeepCopy()
	})
	take("tracing", d.Tracing != nil && spec.Tracing == nil && !namesCollector(spec), func() { spec.Tracing = d.Tracing.DeepCopy() })
	take("networkPolicy", d.NetworkPolicy != "" && spec.NetworkPolicy == "", func() { spec.NetworkPolicy = d.NetworkPolicy })
	slices.Sort(taken)
	return taken
}

// namesCollector says that the variables of the coordinator say where traces go.
func namesCollector(spec *streamv1.StreamJobSpec) bool {
	if spec.Coordinator == nil || spec.Coordinator.PodTemplate == nil {
		return false
	}
	for i := range spec.Coordinator.PodTemplate.Containers {
		for _, e := range spec.Coordinator.PodTemplate.Containers[i].Env {
			if e.Name == contract.VariableEndpoint || e.Name == contract.VariableTracesEndpoint {
				return true
			}
		}
	}
	return false
}

// stateless says that a spec asks for a job without storage.
func stateless(spec *streamv1.StreamJobSpec) bool {
	return spec.Upgrade != nil && spec.Upgrade.Mode == streamv1.UpgradeStateless
}

// Parse reads a configuration file, YAML or JSON. It refuses fields that it does not know, and values that a StreamJob would not take.
func Parse(ctx context.Context, text []byte) (*OperatorConfig, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("reading the configuration: it has %d bytes, but may have at most %d", len(text), maxSize)
	}
	c := &OperatorConfig{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("reading the configuration: %s", oneLine(err))
	}
	if c.APIVersion != APIVersion || c.Kind != Kind {
		return nil, fmt.Errorf("reading the configuration: it has apiVersion %q and kind %q, but must have %s and %s", c.APIVersion, c.Kind, APIVersion, Kind)
	}
	if len(c.Namespaces) > maxNamespaces {
		return nil, fmt.Errorf("reading the configuration: it has settings for %d namespaces, but may have at most %d", len(c.Namespaces), maxNamespaces)
	}
	var found []error
	found = append(found, c.Defaults.validate(ctx, "defaults"))
	for _, name := range slices.Sorted(maps.Keys(c.Namespaces)) {
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			found = append(found, fmt.Errorf("namespaces: %q is no name of a namespace: %s", name, problems[0]))
			continue
		}
		d := c.Namespaces[name]
		found = append(found, d.validate(ctx, "namespaces."+name))
	}
	if err := errors.Join(found...); err != nil {
		return nil, fmt.Errorf("checking the configuration: %w", err)
	}
	return c, nil
}

// validate checks the values by the rules of the fields of a StreamJob that they are for.
func (d Defaults) validate(ctx context.Context, at string) error {
	switch d.ImagePullPolicy {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return fmt.Errorf("%s.imagePullPolicy: %q is none of Always, IfNotPresent and Never", at, d.ImagePullPolicy)
	}
	if d.ImagePullPolicy != "" && d.Image == "" {
		return fmt.Errorf("%s.imagePullPolicy: it goes with an image: set %s.image", at, at)
	}
	if strings.ContainsAny(d.Image, " \t\r\n") || len(d.Image) > 512 {
		return fmt.Errorf("%s.image: %q is no image", at, d.Image)
	}
	if c := d.Checkpointing; c != nil && (c.Interval.Duration < 0 || c.Timeout.Duration < 0 || c.RetainedCount < 0) {
		return fmt.Errorf("%s.checkpointing: values must not be negative", at)
	}
	if s := d.Storage; s != nil && s.Volume != nil && s.Volume.ClaimName == "" {
		return fmt.Errorf("%s.storage.volume.claimName: name the persistent volume claim, which each namespace has under this name", at)
	}
	if d.NetworkPolicy != "" && d.NetworkPolicy != streamv1.NetworkPolicyNone && d.NetworkPolicy != streamv1.NetworkPolicyIsolated {
		return fmt.Errorf("%s.networkPolicy: %q is none of None and Isolated", at, d.NetworkPolicy)
	}
	job := probe()
	if d.Checkpointing != nil && d.Checkpointing.Interval.Duration == 0 {
		job.Spec.Checkpointing = &streamv1.Checkpointing{Interval: metav1.Duration{Duration: probeInterval}}
	}
	if d.SavepointPrefix != "" && d.Storage == nil {
		job.Spec.Storage = &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bucket"}}
	}
	d.Apply(&job.Spec)
	text, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if _, err := jobconfig.Validate(ctx, text); err != nil {
		if invalid, ok := errors.AsType[*jobconfig.InvalidError](err); ok {
			return fmt.Errorf("%s: as fields of a StreamJob: %s", at, strings.Join(invalid.Problems, "; "))
		}
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// ImageOf returns the image of a job that is a dataflow, and when it is pulled, given those of the operator's flags.
func (d Defaults) ImageOf(image string, policy corev1.PullPolicy) (string, corev1.PullPolicy) {
	if d.Image == "" {
		return image, policy
	}
	return d.Image, d.ImagePullPolicy
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
