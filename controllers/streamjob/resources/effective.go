// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"strings"
	"time"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// Defaults of the API that status.effective shows.
const (
	defaultCheckpointTimeout = 10 * time.Minute
	defaultRetained          = 1
	maxLocation              = 1024
)

// Effective returns what is in force for a revision.
func Effective(r Revision) *streamv1.EffectiveReport {
	out := &streamv1.EffectiveReport{
		Image:        plan.Cut(r.Image, 512),
		StateBackend: backendText(r.Spec.StateBackend),
		Restart:      restartText(&r.Spec),
		Workers:      workerResources(&r.Spec).DeepCopy(),
	}
	if s := r.Spec.Storage; s != nil {
		out.Storage = plan.Cut(locationText(s, ""), maxLocation)
		prefix := defaultSavepointPrefix
		if s.Savepoints != nil {
			prefix = s.Savepoints.Prefix
		}
		out.Savepoints = plan.Cut(locationText(s, prefix), maxLocation)
	}
	if c := r.Spec.Checkpointing; c != nil {
		out.CheckpointInterval = c.Interval.Duration.String()
		timeout, retained := c.Timeout.Duration, int32(defaultRetained)
		if timeout == 0 {
			timeout = defaultCheckpointTimeout
		}
		if c.Retention != nil && c.Retention.Count > 0 {
			retained = c.Retention.Count
		}
		out.CheckpointTimeout, out.RetainedCheckpoints = timeout.String(), retained
	}
	if r.Defaults != nil {
		out.FromOperator = r.Defaults.Taken
	}
	return out
}

// locationText returns a storage as restoreFrom would name a directory in it.
func locationText(s *streamv1.Storage, below string) string {
	base := ""
	switch {
	case s.S3 != nil:
		base = "s3://" + s.S3.Bucket
		if s.S3.Prefix != "" {
			base += "/" + s.S3.Prefix
		}
	case s.Volume != nil:
		base = strings.TrimSuffix(s.Volume.Path, "/")
	}
	if below != "" {
		base += "/" + below
	}
	return base
}

func backendText(b *streamv1.StateBackend) string {
	parts := []string{string(streamv1.MemoryBackend)}
	if b == nil {
		return parts[0]
	}
	if b.Type != "" {
		parts[0] = string(b.Type)
	}
	if b.Incremental {
		parts = append(parts, "incremental")
	}
	if b.LocalRecovery {
		parts = append(parts, "local recovery")
	}
	if b.MemoryBudget != nil {
		parts = append(parts, "budget "+b.MemoryBudget.String())
	}
	return strings.Join(parts, ", ")
}

func restartText(spec *streamv1.StreamJobSpec) string {
	switch r := spec.Restart; {
	case r == nil && spec.Checkpointing == nil, r != nil && r.None != nil:
		return "none"
	case r != nil && r.FixedDelay != nil:
		return "fixedDelay"
	case r != nil && r.FailureRate != nil:
		return "failureRate"
	default:
		return "exponentialDelay"
	}
}
