// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	psaapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

var rewrite = flag.Bool("rewrite", false, "write the goldens anew")

var settings = Settings{EngineImage: "registry.example.com/weir:v1", EngineImagePullPolicy: corev1.PullIfNotPresent}

func newJob(name string, spec streamv1.StreamJobSpec) *streamv1.StreamJob {
	return &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "prod", UID: "6f1c6c1e-0000-4000-8000-000000000001", Generation: 3},
		Spec:       spec,
	}
}

func minimal() *streamv1.StreamJob {
	return newJob("clicks", streamv1.StreamJobSpec{Dataflow: &streamv1.Dataflow{Operators: []streamv1.Operator{
		{Name: "numbers", Generator: &streamv1.GeneratorSource{}},
		{Name: "log", Inputs: []streamv1.OperatorName{"numbers"}, Log: &streamv1.LogSink{}},
	}}})
}

func withLocalRecovery() *streamv1.StreamJob {
	job := onS3()
	job.Spec.StateBackend = &streamv1.StateBackend{Incremental: true, LocalRecovery: true}
	return job
}

func onS3() *streamv1.StreamJob {
	job := minimal()
	job.Spec.Parallelism = 4
	job.Spec.Workers = &streamv1.Workers{Replicas: 2}
	job.Spec.Checkpointing = &streamv1.Checkpointing{
		Interval: metav1.Duration{Duration: 10 * time.Second}, TolerableFailures: 3,
		Retention: &streamv1.Retention{Count: 3, OnCancel: streamv1.DeleteOnCancel},
	}
	job.Spec.Storage = &streamv1.Storage{S3: &streamv1.S3Storage{
		Endpoint: "http://minio.storage:9000", Bucket: "weir", Prefix: "jobs",
		CredentialsSecretRef: &streamv1.SecretReference{Name: "minio"},
	}}
	return job
}

func onVolume() *streamv1.StreamJob {
	job := minimal()
	job.Spec.Storage = &streamv1.Storage{Volume: &streamv1.VolumeStorage{ClaimName: "state", Path: "/data"}}
	job.Spec.RestoreFrom = &streamv1.RestoreFrom{Path: "/data/savepoints/sp-1", AllowDrained: true}
	job.Spec.Upgrade = &streamv1.Upgrade{AllowNonRestoredState: true}
	return job
}

func ownProgram() *streamv1.StreamJob {
	return newJob("page-views", streamv1.StreamJobSpec{
		Program: &streamv1.Program{
			Image: "registry.example.com/page-views:1.4", ImagePullPolicy: corev1.PullAlways, Args: []string{"--window", "1m"},
		},
		Parallelism: 6,
		Workers: &streamv1.Workers{SlotsPerWorker: 2, Resources: &streamv1.Resources{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		}},
		Coordinator: &streamv1.Coordinator{Resources: &streamv1.Resources{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		}},
	})
}

var samples = map[string]func() *streamv1.StreamJob{
	"minimal": minimal, "s3": onS3, "volume": onVolume, "program": ownProgram, "local": withLocalRecovery,
}

func compareGolden(t *testing.T, name string, documents ...any) {
	t.Helper()
	var got bytes.Buffer
	for i, d := range documents {
		text, err := yaml.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			got.WriteString("---\n")
		}
		got.Write(text)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *rewrite {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got; -rewrite accepts it):\n%s", file, diff)
	}
}

// typed turns an apply configuration into the type of its object; a field that the type lacks fails the test.
func typed[T any](t *testing.T, ac any) *T {
	t.Helper()
	text, err := json.Marshal(ac)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func children(t *testing.T, job *streamv1.StreamJob, grant int64) *Set {
	t.Helper()
	set, err := Children(job, grant, NewRevision(job, settings, "", "6f1c6c1e000040008000000000000001"))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// firstForm returns the revision of a job as an operator stored it that knew of no form: its objects stay what they are.
func firstForm(job *streamv1.StreamJob) Revision {
	r := NewRevision(job, settings, "", "6f1c6c1e000040008000000000000001")
	r.Form = 0
	return r
}

func TestChildren_AreAsTheGoldensSay(t *testing.T) {
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			job := sample()
			cm, err := ConfigMap(job, 7, firstForm(job))
			if err != nil {
				t.Fatal(err)
			}
			set, err := Children(job, 7, firstForm(job))
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, name, cm, set.Service, set.Coordinator, set.Workers)
		})
	}
}

func agent(t *testing.T, job *streamv1.StreamJob, o AgentOptions) *corev1.Pod {
	t.Helper()
	pod, err := AgentPod(job, NewRevision(job, settings, "", ""), o)
	if err != nil {
		t.Fatal(err)
	}
	return typed[corev1.Pod](t, pod)
}

func TestAgentPod_IsAsTheGoldensSay(t *testing.T) {
	changed := NewRevision(ownProgram(), settings, "", "")
	changed.Spec.Workers = nil
	tests := map[string]struct {
		job *streamv1.StreamJob
		o   AgentOptions
	}{
		"agent-check":   {ownProgram(), AgentOptions{Name: "page-views-8-check-0a1b2c3d", Task: plan.CheckTask, Revision: 8, Grant: 8, Against: &changed}},
		"agent-fence":   {onS3(), AgentOptions{Name: "clicks-9-fence-0a1b2c3d", Task: plan.FenceTask, Revision: 8, Grant: 9, Operations: []string{"op-1", "op-2"}}},
		"agent-dispose": {onVolume(), AgentOptions{Name: "clicks-9-dispose-0a1b2c3d", Task: plan.DisposeTask, Revision: 9, Grant: 9}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pod, err := AgentPod(tc.job, NewRevision(tc.job, settings, "", ""), tc.o)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, name, pod)
		})
	}
}

func TestPods_PassTheRestrictedPodSecurityStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, name string, meta metav1.ObjectMeta, spec corev1.PodSpec) {
		t.Helper()
		level := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
		for _, r := range evaluator.EvaluatePod(level, &meta, &spec) {
			if !r.Allowed {
				t.Errorf("%s: %s (%s)", name, r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
	}
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			job := sample()
			set := children(t, job, 1)
			d, s := typed[appsv1.Deployment](t, set.Coordinator), typed[appsv1.StatefulSet](t, set.Workers)
			check(t, "coordinator", d.Spec.Template.ObjectMeta, d.Spec.Template.Spec)
			check(t, "worker", s.Spec.Template.ObjectMeta, s.Spec.Template.Spec)
			for _, task := range []plan.AgentTask{plan.CheckTask, plan.FenceTask, plan.DisposeTask} {
				pod := agent(t, job, AgentOptions{Name: "agent", Task: task, Revision: 1, Grant: 2})
				check(t, string(task), pod.ObjectMeta, pod.Spec)
			}
			// The check itself must be able to fail.
			d.Spec.Template.Spec.HostNetwork = true
			level := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
			if policy.AggregateCheckResults(evaluator.EvaluatePod(level, &d.Spec.Template.ObjectMeta, &d.Spec.Template.Spec)).Allowed {
				t.Error("a pod of the host's network passes")
			}
		})
	}
}

func TestConfigMap_HoldsWhatItIsBuiltFrom(t *testing.T) {
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			job := sample()
			r := NewRevision(job, settings, "job-1", "")
			ac, err := ConfigMap(job, 2, r)
			if err != nil {
				t.Fatal(err)
			}
			cm := typed[corev1.ConfigMap](t, ac)
			back, err := ReadRevision(cm)
			if err != nil {
				t.Fatal(err)
			}
			if RevisionHash(&back.Spec) != RevisionHash(&job.Spec) || PolicyHash(&back.Spec) != PolicyHash(&job.Spec) {
				t.Error("the spec has another hash once it was stored")
			}
			again, err := ConfigMap(job, 2, *back)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(cm, typed[corev1.ConfigMap](t, again)); diff != "" {
				t.Errorf("built again from what is stored (-want +got):\n%s", diff)
			}
			var config contract.JobConfig
			d := json.NewDecoder(strings.NewReader(cm.Data[JobKey]))
			d.DisallowUnknownFields()
			if err := d.Decode(&config); err != nil {
				t.Fatal(err)
			}
			want, err := jobconfig.ToContract(job)
			if err != nil {
				t.Fatal(err)
			}
			want.JobID = "job-1"
			if diff := cmp.Diff(want, config); diff != "" {
				t.Errorf("configuration of the job (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRevision_SaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		data map[string]string
		want string
	}{
		"no key":   {nil, "config map clicks-1: it has no key revision.json"},
		"not JSON": {map[string]string{RevisionKey: "{"}, "config map clicks-1: unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadRevision(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "clicks-1"}, Data: tc.data})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestNewRevision_IsNoPartOfTheStreamJob(t *testing.T) {
	job := onS3()
	r := NewRevision(job, settings, "", "")
	job.Spec.Storage.S3.Bucket = "another"
	if r.Spec.Storage.S3.Bucket != "weir" {
		t.Error("the revision changes with the StreamJob")
	}
}

func TestChildren_AreBuiltFromTheRevisionOnly(t *testing.T) {
	job := onS3()
	r := NewRevision(job, settings, "", "")
	before, err := Children(job, 7, r)
	if err != nil {
		t.Fatal(err)
	}
	job.Spec = streamv1.StreamJobSpec{Program: &streamv1.Program{Image: "other"}, Parallelism: 9}
	job.Generation++
	after, err := Children(job, 7, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("an edit of the StreamJob changes the deployed version (-before +after):\n%s", diff)
	}
}

func TestChildren_RefuseWhatCannotRun(t *testing.T) {
	noClaim := onVolume()
	noClaim.Spec.Storage.Volume.ClaimName = ""
	for name, tc := range map[string]struct {
		job  *streamv1.StreamJob
		s    Settings
		want string
	}{
		"no image": {minimal(), Settings{}, "--engine-image"},
		"no claim": {noClaim, settings, "spec.storage.volume.claimName"},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRevision(tc.job, tc.s, "", "")
			if _, err := Children(tc.job, 1, r); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("children: %v, want %q", err, tc.want)
			}
			if _, err := AgentPod(tc.job, r, AgentOptions{Name: "a", Task: plan.CheckTask}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("agent: %v, want %q", err, tc.want)
			}
		})
	}
}

func TestPolicy_IsWhatTheEngineTakes(t *testing.T) {
	job := onS3()
	job.Spec.Restart = &streamv1.Restart{FixedDelay: &streamv1.FixedDelayRestart{Attempts: 5}}
	got, err := Policy(NewRevision(job, settings, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	want := contract.Policy{
		Revision: PolicyHash(&job.Spec),
		Checkpointing: &contract.Checkpointing{
			Interval: contract.Duration(10 * time.Second), TolerableFailures: 3, RetentionCount: 3, DeleteOnCancel: true,
		},
		Restart: contract.Restart{FixedDelay: &contract.FixedDelay{Attempts: new(5)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAgentPod_AsksForRoomOnlyWhenResourcesChange(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	same := NewRevision(ownProgram(), settings, "", "")
	other := NewRevision(ownProgram(), settings, "", "")
	other.Spec.Coordinator = nil
	written := NewRevision(ownProgram(), settings, "", "")
	written.Spec.Coordinator.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1000m")
	modestly := corev1.ResourceRequirements{Requests: list("10m", "32Mi"), Limits: list("", "256Mi")}
	tests := map[string]struct {
		job     *streamv1.StreamJob
		task    plan.AgentTask
		against *Revision
		want    corev1.ResourceRequirements
	}{
		"nothing is deployed":           {ownProgram(), plan.CheckTask, nil, modestly},
		"the same resources":            {ownProgram(), plan.CheckTask, &same, modestly},
		"the same, written differently": {ownProgram(), plan.CheckTask, &written, modestly},
		"no resources":                  {minimal(), plan.CheckTask, nil, corev1.ResourceRequirements{}},
		"resources were taken away":     {minimal(), plan.CheckTask, &other, corev1.ResourceRequirements{}},
		"a fence":                       {ownProgram(), plan.FenceTask, &other, modestly},
		"other resources": {ownProgram(), plan.CheckTask, &other, corev1.ResourceRequirements{
			Requests: list("1", "1Gi"), Limits: list("", "1Gi"),
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pod := agent(t, tc.job, AgentOptions{Name: "a", Task: tc.task, Revision: 2, Grant: 2, Against: tc.against})
			got := pod.Spec.Containers[0].Resources
			if !quantitiesEqual(got.Requests, tc.want.Requests) || !quantitiesEqual(got.Limits, tc.want.Limits) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func quantitiesEqual(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, quantity := range a {
		if other, ok := b[name]; !ok || quantity.Cmp(other) != 0 {
			return false
		}
	}
	return true
}

func TestLarger_IsAValidPodOfBoth(t *testing.T) {
	list := func(cpu string) corev1.ResourceList {
		if cpu == "" {
			return nil
		}
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	quantities := []string{"", "100m", "1", "2"}
	for _, ar := range quantities {
		for _, al := range quantities {
			for _, br := range quantities {
				for _, bl := range quantities {
					a, b := &streamv1.Resources{Requests: list(ar), Limits: list(al)}, &streamv1.Resources{Requests: list(br), Limits: list(bl)}
					got := larger(a, b)
					request, limit := got.Requests[corev1.ResourceCPU], got.Limits[corev1.ResourceCPU]
					_, limited := got.Limits[corev1.ResourceCPU]
					if limited && request.Cmp(limit) > 0 {
						t.Errorf("of %v and %v: request %s above limit %s", a, b, &request, &limit)
					}
					for _, r := range []*streamv1.Resources{a, b} {
						if need := requested(r)[corev1.ResourceCPU]; request.Cmp(need) < 0 {
							t.Errorf("of %v and %v: request %s, but one needs %s", a, b, &request, &need)
						}
					}
				}
			}
		}
	}
}
