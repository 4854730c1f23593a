// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
	"github.com/weir-stream/weir/runtime/contract"
)

// keys is the number of keys of the ledger; each must be in the output.
const keys = 40

// rate is how many rows the ledger makes a second: enough that every kill hits some, few enough for ten jobs on two cores.
const rate = 400

// savepointPrefix is where the savepoints of all jobs go, in their storage.
const savepointPrefix = "savepoints/"

func seconds(n float64) metav1.Duration {
	return metav1.Duration{Duration: time.Duration(n * float64(time.Second))}
}

// job returns one with the settings that all jobs of the tests share, without a dataflow.
func (s *scenario) newJob(name string) *streamv1.StreamJob {
	return &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec: streamv1.StreamJobSpec{
			Parallelism:    2,
			MaxParallelism: 64,
			Checkpointing: &streamv1.Checkpointing{
				Interval: seconds(1), Timeout: seconds(30), TolerableFailures: 1000,
				Retention: &streamv1.Retention{Count: 2},
			},
			Storage: &streamv1.Storage{
				S3: &streamv1.S3Storage{
					Endpoint: stage.S3Endpoint, Bucket: stage.Bucket, Prefix: s.ns + "/state",
					CredentialsSecretRef: &streamv1.SecretReference{Name: secretName},
				},
				Savepoints: &streamv1.SavepointStorage{Prefix: strings.TrimSuffix(savepointPrefix, "/")},
			},
			Restart: &streamv1.Restart{ExponentialDelay: &streamv1.ExponentialDelayRestart{
				InitialDelay: seconds(0.2), MaxDelay: seconds(2),
			}},
			Upgrade: &streamv1.Upgrade{SavepointTimeout: seconds(20)},
		},
	}
}

// out is a folder of the bucket for the output of a job.
func (s *scenario) out(job, folder string) string { return s.ns + "/out/" + job + "/" + folder }

// ledger returns a job that makes the numbers 1, 2, 3 and so on of each key, and writes them ("rows") as well as how many of each
// key there were and which was the highest ("totals").
func (s *scenario) ledger(name string) *streamv1.StreamJob {
	job := s.newJob(name)
	job.Spec.Dataflow = &streamv1.Dataflow{Operators: []streamv1.Operator{
		{Name: "numbers", Generator: &streamv1.GeneratorSource{Keys: keys, RowsPerSecond: rate}},
		{Name: "by-key", Inputs: []streamv1.OperatorName{"numbers"}, KeyBy: &streamv1.KeyByStep{Columns: []streamv1.ColumnName{"key"}}},
		{Name: "totals", Inputs: []streamv1.OperatorName{"by-key"}, Aggregate: &streamv1.AggregateStep{Aggregates: []streamv1.Aggregation{
			{Name: "rows", Function: streamv1.CountFunction},
			{Name: "newest", Function: streamv1.MaxFunction, Expression: "seq"},
		}}},
		{Name: "out-totals", Inputs: []streamv1.OperatorName{"totals"}, FileSink: s.sink(name, "totals")},
		{Name: "rows", Inputs: []streamv1.OperatorName{"by-key"}, Map: &streamv1.MapStep{Columns: []streamv1.NamedExpression{
			{Name: "key", Expression: "key"}, {Name: "seq", Expression: "seq"},
		}}},
		{Name: "out-rows", Inputs: []streamv1.OperatorName{"rows"}, FileSink: s.sink(name, "rows")},
	}}
	return job
}

func (s *scenario) sink(job, folder string) *streamv1.FileSink {
	return &streamv1.FileSink{Path: streamv1.Location("s3://" + stage.Bucket + "/" + s.out(job, folder))}
}

// program returns the ledger as a program of one's own.
func (s *scenario) program(name, image string) *streamv1.StreamJob {
	job := s.newJob(name)
	job.Spec.Program = &streamv1.Program{Image: image, Args: []string{
		"--out", "s3://" + stage.Bucket + "/" + s.out(name, "rows"),
		"--keys", fmt.Sprint(keys), "--rate", fmt.Sprint(rate / 2),
	}}
	return job
}

// start creates a job and waits until it is ready and has a checkpoint.
func (s *scenario) start(job *streamv1.StreamJob) *streamv1.StreamJob {
	s.Helper()
	s.create(job)
	s.await(job.Name, "a running job", isReady(1))
	return s.await(job.Name, "the first checkpoint", checkpointed(0))
}

// progress waits until the engine has completed two checkpoints from now on: rows from now are in the second. It returns the job.
func (s *scenario) progress(job *streamv1.StreamJob) *streamv1.StreamJob {
	s.Helper()
	first := s.newestCheckpoint(job, 0)
	s.newestCheckpoint(job, first+1)
	return s.job(job.Name)
}

// newestCheckpoint waits until the engine has completed a checkpoint with a higher id, and returns the id of the newest. It asks the
// engine, since the status of the job shows newer checkpoints only now and then; its coordinator may change meanwhile.
func (s *scenario) newestCheckpoint(job *streamv1.StreamJob, after int64) int64 {
	s.Helper()
	asker, newest := &asker{scenario: s}, int64(0)
	s.eventually(fmt.Sprintf("a checkpoint after %d", after), func() string {
		status, err := asker.ask(s.job(job.Name))
		switch {
		case err != nil:
			return err.Error()
		case status.LastCheckpoint == nil:
			return "there is none"
		}
		if newest = status.LastCheckpoint.ID; newest <= after {
			return fmt.Sprintf("the newest is %d", newest)
		}
		return ""
	})
	return newest
}

// asker asks the coordinators of a job, one after the other.
type asker struct {
	*scenario
	api *contract.Client
	pod types.UID
}

// ask asks the newest coordinator of the deployed version how the job is.
func (a *asker) ask(job *streamv1.StreamJob) (*contract.JobStatus, error) {
	a.Helper()
	pods := a.pods(job, coordinator)
	if len(pods) == 0 || pods[len(pods)-1].Status.PodIP == "" {
		return nil, errors.New("there is no coordinator with an address")
	}
	if pod := &pods[len(pods)-1]; pod.UID != a.pod {
		a.api, a.pod = a.controlAPI(job.Name, pod), pod.UID
	}
	return a.api.Job(a.Context())
}

// suspend stops a job and returns it once it is suspended.
func (s *scenario) suspend(name string) *streamv1.StreamJob {
	s.Helper()
	generation := s.patch(name, `{"spec":{"state":"Suspended"}}`)
	return s.await(name, "the suspension", func(job *streamv1.StreamJob) string {
		if job.Status.Phase != streamv1.PhaseSuspended {
			return fmt.Sprintf("its phase is %s", job.Status.Phase)
		}
		return isReady(generation)(job)
	})
}

// resume starts a suspended job again.
func (s *scenario) resume(name string) *streamv1.StreamJob {
	s.Helper()
	generation := s.patch(name, `{"spec":{"state":"Running"}}`)
	return s.await(name, "the resumption", running(generation))
}

// running wants a generation to be ready and its tasks to run.
func running(generation int64) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		return first(isReady(generation)(job), is(job, streamv1.ConditionRunning, metav1.ConditionTrue))
	}
}

// rescale changes the parallelism and waits until the new version runs.
func (s *scenario) rescale(name string, parallelism int) *streamv1.StreamJob {
	s.Helper()
	generation := s.patch(name, fmt.Sprintf(`{"spec":{"parallelism":%d}}`, parallelism))
	return s.await(name, fmt.Sprintf("parallelism %d", parallelism), upgraded(generation, parallelism))
}

// upgraded wants a generation to run with a parallelism.
func upgraded(generation int64, parallelism int) func(*streamv1.StreamJob) string {
	return func(job *streamv1.StreamJob) string {
		if d := job.Status.Deployment; d == nil || d.Generation < generation {
			return fmt.Sprintf("deployed is %+v", d)
		}
		if int(job.Status.Parallelism) != parallelism {
			return fmt.Sprintf("it runs with parallelism %d", job.Status.Parallelism)
		}
		return running(generation)(job)
	}
}
