// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"strings"
	"testing"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestCheck_FindsWhatOnlyMattersOnKubernetes(t *testing.T) {
	at := func(path string) func() *streamv1.StreamJob {
		return func() *streamv1.StreamJob {
			job := onVolume()
			job.Spec.Storage.Volume.Path = path
			return job
		}
	}
	operators := func(job *streamv1.StreamJob, o ...streamv1.Operator) *streamv1.StreamJob {
		job.Spec.Dataflow.Operators = append(job.Spec.Dataflow.Operators, o...)
		return job
	}
	tests := map[string]struct {
		job  func() *streamv1.StreamJob
		want []string
	}{
		"minimal":     {minimal, nil},
		"s3":          {onS3, nil},
		"volume":      {onVolume, nil},
		"program":     {ownProgram, nil},
		"in /tmp":     {at("/tmp/state"), nil},
		"/etcetera":   {at("/etcetera"), nil},
		"no claim":    {func() *streamv1.StreamJob { j := onVolume(); j.Spec.Storage.Volume.ClaimName = ""; return j }, []string{"spec.storage.volume.claimName: Required value"}},
		"relative":    {at("state"), []string{"spec.storage.volume.path: Invalid value: \"state\": on Kubernetes it is where the claim is mounted: give an absolute path"}},
		"with colon":  {at("/a:b"), []string{"must not contain ':'"}},
		"root":        {at("//"), []string{"such as /data"}},
		"/tmp itself": {at("/tmp/"), []string{"such as /data"}},
		"ours":        {at("/etc/weir/job"), []string{"pods need /etc for themselves"}},
		"devices":     {at("/x/../dev"), []string{"pods need /dev for themselves"}},
		"files of a pod": {func() *streamv1.StreamJob {
			return operators(onVolume(),
				streamv1.Operator{Name: "a", Files: &streamv1.FilesSource{Path: "/data/in"}},
				streamv1.Operator{Name: "b", Files: &streamv1.FilesSource{Path: "/database", DeadLetter: &streamv1.DeadLetter{Path: "/bad"}}},
				streamv1.Operator{Name: "c", FileSink: &streamv1.FileSink{Path: "/data/../out"}},
				streamv1.Operator{Name: "d", FileSink: &streamv1.FileSink{Path: "s3://weir/out"}},
			)
		}, []string{
			"spec.dataflow.operators[3].files.path: Invalid value: \"/database\": on Kubernetes every pod has files of its own: use an s3:// path or one below storage.volume.path, /data",
			"operators[3].files.deadLetter.path",
			"operators[4].fileSink.path",
		}},
		"files without a volume": {func() *streamv1.StreamJob {
			return operators(onS3(), streamv1.Operator{Name: "c", FileSink: &streamv1.FileSink{Path: "/out"}})
		}, []string{"or set storage.volume"}},
		"savepoints without storage": {func() *streamv1.StreamJob {
			job := minimal()
			job.Spec.Savepoint, job.Spec.DeletionPolicy = &streamv1.Savepoint{Trigger: "a"}, streamv1.SavepointOnDeletion
			return job
		}, []string{"spec.savepoint: Invalid value: a savepoint needs storage: set spec.storage.s3", "spec.deletionPolicy: Invalid value: Savepoint needs storage"}},
		"savepoints": {func() *streamv1.StreamJob {
			job := onS3()
			job.Spec.Savepoint, job.Spec.DeletionPolicy = &streamv1.Savepoint{Schedule: "0 3 * * *"}, streamv1.SavepointOnDeletion
			return job
		}, nil},
		"too large": {func() *streamv1.StreamJob {
			return operators(minimal(), streamv1.Operator{Name: "f", Filter: &streamv1.FilterStep{Expression: streamv1.Expression(strings.Repeat("x", maxSpecBytes))}})
		}, []string{"spec: Too long"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := Check(tc.job())
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %d problems", got, len(tc.want))
			}
			for i, want := range tc.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
		})
	}
}
