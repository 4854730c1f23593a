// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

// buildEngine builds the stock engine.
func buildEngine(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "engine")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/engine").CombinedOutput(); err != nil {
		t.Fatalf("building the engine: %v\n%s", err, out)
	}
	return binary
}

func newJob(storage string) *streamv1.StreamJob {
	return &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Name: "clicks", Namespace: "prod", UID: "1"},
		Spec: streamv1.StreamJobSpec{
			Dataflow: &streamv1.Dataflow{Operators: []streamv1.Operator{
				{Name: "numbers", Generator: &streamv1.GeneratorSource{}},
				{Name: "log", Inputs: []streamv1.OperatorName{"numbers"}, Log: &streamv1.LogSink{}},
			}},
			Checkpointing: &streamv1.Checkpointing{Interval: metav1.Duration{Duration: time.Second}},
			Storage:       &streamv1.Storage{Volume: &streamv1.VolumeStorage{ClaimName: "state", Path: storage}},
		},
	}
}

func TestEngine_TakesWhatTheOperatorHandsToIt(t *testing.T) {
	engine := buildEngine(t)
	t.Run("command lines", func(t *testing.T) { takesCommandLines(t, engine) })
	t.Run("configuration of the job", func(t *testing.T) { readsJobConfiguration(t, engine) })
}

func takesCommandLines(t *testing.T, engine string) {
	t.Helper()
	job := newJob("/data")
	r := resources.NewRevision(job, resources.Settings{EngineImage: "weir"}, "", "1")
	set, err := resources.Children(job, 1, r)
	if err != nil {
		t.Fatal(err)
	}
	containers := map[string]corev1ac.ContainerApplyConfiguration{
		"coordinator": set.Coordinator.Spec.Template.Spec.Containers[0],
		"worker":      set.Workers.Spec.Template.Spec.Containers[0],
	}
	for _, task := range []plan.AgentTask{plan.CheckTask, plan.FenceTask, plan.DisposeTask} {
		pod, err := resources.AgentPod(job, r, resources.AgentOptions{Name: "a", Task: task, Revision: 1, Grant: 2, Operations: []string{"op-1", "op-2"}})
		if err != nil {
			t.Fatal(err)
		}
		containers["agent "+string(task)] = pod.Spec.Containers[0]
	}
	for name, c := range containers {
		t.Run(name, func(t *testing.T) {
			// All flags before it are read, and an unknown one is an error; then it ends.
			out, err := exec.CommandContext(t.Context(), engine, append(slices.Clone(c.Args), "--help")...).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", strings.Join(c.Args, " "), err, out)
			}
			// The help is that of the very command, and not of its parent.
			words := strings.Fields(name)
			if usage := "engine " + strings.Join(words, " "); err == nil && !strings.Contains(string(out), usage) {
				t.Errorf("the help is not about %q:\n%s", usage, out)
			}
		})
	}
	if err := exec.CommandContext(t.Context(), engine, "worker", "--no-such-flag", "--help").Run(); err == nil {
		t.Error("an unknown flag is taken")
	}
}

// readsJobConfiguration has an agent read the configuration of the job, as it is stored, and its storage.
func readsJobConfiguration(t *testing.T, engine string) {
	t.Helper()
	job := newJob(t.TempDir())
	cm, err := resources.ConfigMap(job, 1, resources.NewRevision(job, resources.Settings{EngineImage: "weir"}, "", "new-job"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, result := filepath.Join(dir, "job.json"), filepath.Join(dir, "result")
	if err := os.WriteFile(file, []byte(cm.Data[resources.JobKey]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), engine, "agent", "check", "--job", file, "--termination-log", result).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	written, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	r, err := contract.ParseAgentResult(string(written))
	if err != nil || !r.OK || r.Task != contract.AgentCheck {
		t.Errorf("%s: %v", written, err)
	}
}
