// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// defaultRegion is the region of a bucket that names none.
const defaultRegion = "us-east-1"

// ToContract translates a StreamJob that Validate accepted to the configuration of the engine. Unset fields stay
// unset, so that the engine applies its defaults.
func ToContract(job *streamv1.StreamJob) (contract.JobConfig, error) {
	spec := &job.Spec
	restart, err := restartOf(spec.Restart)
	if err != nil {
		return contract.JobConfig{}, fmt.Errorf("translating spec.restart: %w", err)
	}
	config := contract.JobConfig{
		Namespace:       job.Namespace,
		Name:            job.Name,
		Parallelism:     int(spec.Parallelism),
		MaxParallelism:  int(spec.MaxParallelism),
		DisableChaining: spec.DisableChaining,
		Checkpointing:   checkpointingOf(spec.Checkpointing),
		StateBackend:    stateBackendOf(spec.StateBackend),
		Restart:         restart,
		Storage:         storageOf(spec.Storage),
		Dataflow:        dataflowOf(spec.Dataflow),
	}
	if spec.Program != nil {
		config.Args = spec.Program.Args
	}
	if spec.Upgrade != nil {
		config.AllowNonRestoredState = spec.Upgrade.AllowNonRestoredState
	}
	if spec.RestoreFrom != nil {
		config.RestoreFrom = string(spec.RestoreFrom.Path)
		config.RestoreMode = contract.RestoreMode(spec.RestoreFrom.Mode)
		config.AllowDrained = spec.RestoreFrom.AllowDrained
	}
	return config, nil
}

// Workers returns how many workers run a job and how many slots each has.
func Workers(job *streamv1.StreamJob) (replicas, slots int) {
	parallelism := LargestParallelism(job)
	if w := job.Spec.Workers; w != nil {
		replicas, slots = int(w.Replicas), int(w.SlotsPerWorker)
	}
	switch {
	case replicas == 0 && slots == 0:
		return 1, parallelism
	case replicas == 0:
		return ceilDiv(parallelism, slots), slots
	case slots == 0:
		return replicas, ceilDiv(parallelism, replicas)
	default:
		return replicas, slots
	}
}

// LargestParallelism returns the largest parallelism of any operator of a job: the number of slots it needs. What the operators of a
// program ask for is not known here: it counts with the parallelism of the job.
func LargestParallelism(job *streamv1.StreamJob) int {
	ofJob := max(1, int(job.Spec.Parallelism))
	largest := 1
	if job.Spec.Dataflow == nil {
		return ofJob
	}
	for i := range job.Spec.Dataflow.Operators {
		own := int(job.Spec.Dataflow.Operators[i].Parallelism)
		if own == 0 {
			own = ofJob
		}
		largest = max(largest, own)
	}
	return largest
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func duration(d metav1.Duration) contract.Duration { return contract.Duration(d.Duration) }

// unlessZero returns nil for zero, which in the API means unset.
func unlessZero(n int32) *int {
	if n == 0 {
		return nil
	}
	return new(int(n))
}

func checkpointingOf(c *streamv1.Checkpointing) *contract.Checkpointing {
	if c == nil {
		return nil
	}
	out := &contract.Checkpointing{
		Interval:          duration(c.Interval),
		Mode:              contract.Mode(c.Mode),
		Timeout:           duration(c.Timeout),
		MinPause:          duration(c.MinPause),
		MaxConcurrent:     int(c.MaxConcurrent),
		TolerableFailures: int(c.TolerableFailures),
		OnCorruption:      contract.OnCorruption(c.OnCorruption),
	}
	if c.Alignment != nil {
		out.Alignment = &contract.Alignment{Mode: contract.AlignmentMode(c.Alignment.Mode), Timeout: duration(c.Alignment.Timeout)}
	}
	if c.Retention != nil {
		out.RetentionCount = int(c.Retention.Count)
		out.DeleteOnCancel = c.Retention.OnCancel == streamv1.DeleteOnCancel
	}
	return out
}

func stateBackendOf(b *streamv1.StateBackend) *contract.StateBackend {
	if b == nil {
		return nil
	}
	out := &contract.StateBackend{Type: string(b.Type), Incremental: b.Incremental, LocalRecovery: b.LocalRecovery}
	if b.MemoryBudget != nil {
		out.MemoryBudget = b.MemoryBudget.Value()
	}
	return out
}

func storageOf(s *streamv1.Storage) *contract.Storage {
	if s == nil {
		return nil
	}
	out := &contract.Storage{}
	if s.S3 != nil {
		out.S3 = &contract.S3{
			Endpoint: endpointOf(s.S3.Endpoint, s.S3.Region),
			Bucket:   s.S3.Bucket,
			Prefix:   s.S3.Prefix,
			Region:   regionOf(s.S3.Region),
		}
	}
	if s.Volume != nil {
		out.Volume = &contract.Volume{Path: s.Volume.Path}
	}
	if s.Savepoints != nil {
		out.SavepointPrefix = s.Savepoints.Prefix
	}
	return out
}

func regionOf(region string) string {
	if region == "" {
		return defaultRegion
	}
	return region
}

func endpointOf(endpoint, region string) string {
	if endpoint != "" {
		return endpoint
	}
	return "https://s3." + regionOf(region) + ".amazonaws.com"
}

func restartOf(r *streamv1.Restart) (contract.Restart, error) {
	var out contract.Restart
	switch {
	case r == nil:
	case r.None != nil:
		out.None = &struct{}{}
	case r.FixedDelay != nil:
		out.FixedDelay = &contract.FixedDelay{
			Attempts: unlessZero(r.FixedDelay.Attempts),
			Delay:    duration(r.FixedDelay.Delay),
		}
	case r.FailureRate != nil:
		out.FailureRate = &contract.FailureRate{
			MaxFailures: int(r.FailureRate.MaxFailures),
			Interval:    duration(r.FailureRate.Interval),
			Delay:       duration(r.FailureRate.Delay),
		}
	case r.ExponentialDelay != nil:
		e, err := exponentialDelayOf(r.ExponentialDelay)
		if err != nil {
			return out, err
		}
		out.ExponentialDelay = e
	}
	return out, nil
}

func exponentialDelayOf(e *streamv1.ExponentialDelayRestart) (*contract.ExponentialDelay, error) {
	out := &contract.ExponentialDelay{
		InitialDelay: duration(e.InitialDelay),
		MaxDelay:     duration(e.MaxDelay),
		ResetAfter:   duration(e.ResetAfter),
		Attempts:     unlessZero(e.Attempts),
	}
	if e.Multiplier != "" {
		multiplier, err := strconv.ParseFloat(e.Multiplier, 64)
		if err != nil {
			return nil, fmt.Errorf("reading exponentialDelay.multiplier: %w", err)
		}
		out.Multiplier = multiplier
	}
	if e.Jitter != "" {
		jitter, err := strconv.ParseFloat(e.Jitter, 64)
		if err != nil {
			return nil, fmt.Errorf("reading exponentialDelay.jitter: %w", err)
		}
		out.Jitter = &jitter
	}
	return out, nil
}
