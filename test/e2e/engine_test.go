// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/examples/ledger/checker"
	"github.com/weir-stream/weir/hack/e2e/stage"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// TestUnaligned_ExactlyOnceUnderBackPressure runs a job that can't keep up with its source, with barriers that overtake, kills its
// workers and moves it, with the rows in flight, to another parallelism.
func TestUnaligned_ExactlyOnceUnderBackPressure(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "unaligned")
	job := s.program("ledger", "weir-ledger:v1")
	job.Spec.Program.Args = append(job.Spec.Program.Args, "--rate", "4000", "--pause", "500us")
	job.Spec.Checkpointing.Alignment = &streamv1.Alignment{Mode: streamv1.UnalignedMode}
	job.Spec.StateBackend = &streamv1.StateBackend{Incremental: true}
	job.Spec.Workers = &streamv1.Workers{Replicas: 2}
	job.Spec.Upgrade.Mode = streamv1.UpgradeFromLastCheckpoint
	job.Spec.Upgrade.SavepointTimeout = seconds(120)
	job = s.start(job)
	s.overtaken(job)
	for i := range int64(2) {
		s.signal(s.pod(job, worker), stage.Kill)
		job = s.await(job.Name, "the restart", func(job *streamv1.StreamJob) string {
			if job.Status.Job.Restarts <= i {
				return fmt.Sprintf("%d restarts", job.Status.Job.Restarts)
			}
			return running(1)(job)
		})
		job = s.progress(job)
	}
	s.overtaken(job)
	job = s.rescale(job.Name, 3)
	job = s.progress(job)
	s.overtaken(job)
	job = s.rescale(job.Name, 2)
	s.progress(job)
	s.suspend(job.Name)
	s.judge(job.Name)
}

// overtaken waits for a checkpoint of a job in which barriers overtook rows.
func (s *scenario) overtaken(job *streamv1.StreamJob) {
	s.Helper()
	id := s.newestCheckpoint(job, 0)
	s.eventually("a checkpoint with rows in flight", func() string {
		m, dir := s.newestManifest(job)
		if m == nil {
			return "the newest checkpoint has just been replaced"
		}
		rows := int64(0)
		for _, o := range m.Operators {
			for _, t := range o.Subtasks {
				for _, c := range t.Channels {
					rows += c.Rows
				}
			}
		}
		if m.Checkpoint <= id || rows == 0 {
			return fmt.Sprintf("%s has %d of them", dir, rows)
		}
		s.Logf("%s has %d rows in flight", dir, rows)
		return ""
	})
}

// head reads the head of a job.
func (s *scenario) head(job *streamv1.StreamJob) snapshot.Head {
	s.Helper()
	key := path.Join(s.ns, job.Name, job.Status.Job.ID, "head.json")
	b, _, err := s.open(s.ns+"/state").Get(s.Context(), key)
	if err != nil {
		s.Fatalf("reading the head: %v", err)
	}
	h, err := snapshot.DecodeHead(b)
	if err != nil {
		s.Fatalf("reading the head: %v", err)
	}
	return h
}

// newestManifest reads the manifest of the newest checkpoint, and where it is; nil if that has been subsumed meanwhile.
func (s *scenario) newestManifest(job *streamv1.StreamJob) (*snapshot.Manifest, string) {
	s.Helper()
	h := s.head(job)
	newest, ok := h.Newest()
	if !ok {
		return nil, ""
	}
	b, _, err := s.open(s.ns+"/state").Get(s.Context(), path.Join(newest.Path, snapshot.ManifestName))
	if err != nil {
		return nil, newest.Path
	}
	m, err := snapshot.DecodeManifest(b)
	if err != nil {
		s.Fatalf("reading the manifest of %s: %v", newest.Path, err)
	}
	return m, newest.Path
}

// damageNewest stops checkpoints, without a restart, changes a byte of a state file of the newest one, and returns its id and the name
// of the file.
func (s *scenario) damageNewest(job *streamv1.StreamJob) (id int64, file string) {
	s.Helper()
	s.patch(job.Name, `{"spec":{"checkpointing":{"interval":"1h"}}}`)
	since, last := time.Now(), int64(0)
	s.eventually("no more checkpoints", func() string {
		if n := s.newestCheckpoint(job, 0); n != last {
			since, last = time.Now(), n
		}
		if quiet := time.Since(since); quiet < 4*time.Second {
			return fmt.Sprintf("%d came %v ago", last, quiet)
		}
		return ""
	})
	m, dir := s.newestManifest(job)
	if m == nil {
		s.Fatal("there is no newest checkpoint")
	}
	var files []state.File
	for _, o := range m.Operators {
		for _, t := range o.Subtasks {
			files = append(files, t.Keyed...)
		}
	}
	if len(files) == 0 {
		s.Fatalf("%s has no keyed state", dir)
	}
	key := path.Join(dir, files[0].Path)
	store := s.open(s.ns + "/state")
	b, _, err := store.Get(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	b = slices.Clone(b)
	b[len(b)/2] ^= 0x40
	if err := store.Delete(s.Context(), key); err != nil {
		s.Fatal(err)
	}
	if err := store.PutIfAbsent(s.Context(), key, b); err != nil {
		s.Fatal(err)
	}
	s.Logf("damaged %s of checkpoint %d", key, m.Checkpoint)
	return m.Checkpoint, path.Base(key)
}

// withPolicy sets what follows when the newest checkpoint is damaged.
func withPolicy(job *streamv1.StreamJob, p streamv1.OnCorruption) *streamv1.StreamJob {
	job.Spec.Checkpointing.OnCorruption = p
	job.Spec.Checkpointing.Retention = &streamv1.Retention{Count: 3}
	return job
}

// TestDamagedCheckpoint_EndsTheJob damages the newest checkpoint of jobs that can't go back behind it: they are told not to, or files
// have become visible with it.
func TestDamagedCheckpoint_EndsTheJob(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy streamv1.OnCorruption
		files  bool
		says   string
	}{
		"Fail with files":        {streamv1.FailOnCorruption, true, ""},
		"Fail without a sink":    {streamv1.FailOnCorruption, false, ""},
		"FallBack behind commit": {streamv1.FallBackOnCorruption, true, "committed"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, "damaged")
			job := s.ticker("job")
			if tc.files {
				job = s.ledger("job")
			}
			job = s.start(withPolicy(job, tc.policy))
			s.newestCheckpoint(job, 3)
			_, file := s.damageNewest(job)
			s.signal(s.pod(job, worker), stage.Kill)
			job = s.await(job.Name, "the end of the job", func(job *streamv1.StreamJob) string {
				if missing := is(job, streamv1.ConditionStalled, metav1.ConditionTrue); missing != "" {
					return missing
				}
				return first(is(job, streamv1.ConditionReady, metav1.ConditionFalse), is(job, streamv1.ConditionRunning, metav1.ConditionFalse))
			})
			says := message(job, streamv1.ConditionStalled)
			t.Log(says)
			for _, want := range []string{file, tc.says} {
				if !strings.Contains(says, want) {
					t.Errorf("the condition doesn't name %q: %s", want, says)
				}
			}
		})
	}
}

// TestDamagedCheckpoint_FallsBackWithoutCommits damages the newest checkpoint of a job whose sinks have committed nothing.
func TestDamagedCheckpoint_FallsBackWithoutCommits(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "fallback")
	job := s.start(withPolicy(s.ticker("job"), streamv1.FallBackOnCorruption))
	s.newestCheckpoint(job, 3)
	id, file := s.damageNewest(job)
	s.signal(s.pod(job, worker), stage.Kill)
	job = s.await(job.Name, "the job to run again", func(job *streamv1.StreamJob) string {
		if job.Status.Job.Restarts == 0 {
			return "it has not restarted"
		}
		return is(job, streamv1.ConditionRunning, metav1.ConditionTrue)
	})
	restores := s.head(job).Restores
	r := restores[len(restores)-1]
	if r.Empty || r.Checkpoint >= id || len(r.LeftOut) == 0 || r.LeftOut[0].Checkpoint != id || !strings.Contains(r.LeftOut[0].Reason, file) {
		t.Errorf("restored from %+v, want from before checkpoint %d, left out because of %s", r, id, file)
	}
	s.patch(job.Name, `{"spec":{"checkpointing":{"interval":"1s"}}}`)
	s.newestCheckpoint(job, id)
	s.remove(job.Name)
}

// TestRegions_OnlyTheOneThatIsHitRestarts kills a worker of a job of two pipelines that nothing connects, one of which has no task there.
func TestRegions_OnlyTheOneThatIsHitRestarts(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "regions")
	job := s.ledger("ledger")
	job.Spec.Workers = &streamv1.Workers{Replicas: 2, SlotsPerWorker: 1}
	job.Spec.Dataflow.Operators = append(job.Spec.Dataflow.Operators,
		streamv1.Operator{Name: "narrow", Parallelism: 1, Generator: &streamv1.GeneratorSource{Keys: keys, RowsPerSecond: rate}},
		streamv1.Operator{Name: "out-narrow", Parallelism: 1, Inputs: []streamv1.OperatorName{"narrow"}, FileSink: s.sink(job.Name, "narrow")},
	)
	job = s.start(job)
	api := s.controlAPI(job.Name, s.pod(job, coordinator))
	attempts := func() map[string]string {
		status, err := api.Job(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for _, r := range status.Regions {
			m[r.Name] = r.Attempt
		}
		return m
	}
	before := attempts()
	if len(before) != 2 || before["narrow"] == "" || before["numbers"] == "" {
		t.Fatalf("the regions are %v, want narrow and numbers", before)
	}
	pods := s.pods(job, worker)
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	s.signal(&pods[len(pods)-1], stage.Kill) // the first worker has the first slot, and narrow is only there
	job = s.await(job.Name, "the restart", func(job *streamv1.StreamJob) string {
		if job.Status.Job.Restarts == 0 {
			return "it has not restarted"
		}
		return running(1)(job)
	})
	job = s.progress(job)
	after := attempts()
	if after["narrow"] != before["narrow"] || after["numbers"] == before["numbers"] {
		t.Errorf("the attempts were %v and are %v: want that only numbers restarted", before, after)
	}
	restores := s.head(job).Restores
	if r := restores[len(restores)-1]; !slices.Equal(r.Regions, []string{"numbers"}) {
		t.Errorf("the last restore is of the regions %q, want numbers", r.Regions)
	}
	s.finish(job.Name)
	report, err := checker.Output(t.Context(), s.open(s.out(job.Name, "narrow")))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || report.Keys != keys {
		t.Errorf("the output of narrow is wrong: %v (%v)", err, report)
	}
}
