// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

func newJob() *streamv1.StreamJob {
	return &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Name: "clicks", Namespace: "prod", UID: "uid-2", Generation: 5},
		Spec: streamv1.StreamJobSpec{
			Program: &streamv1.Program{Image: "example.com/clicks:1"}, Parallelism: 6,
			Workers: &streamv1.Workers{SlotsPerWorker: 2},
		},
	}
}

func meta(name, grant, component string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: name, Namespace: "prod", Labels: map[string]string{streamv1.LabelJob: "clicks", streamv1.LabelGrant: grant}}
	if component != "" {
		m.Labels[streamv1.LabelComponent] = component
	}
	return m
}

// configMap is what the operator stores for a grant of a job.
func configMap(t *testing.T, job *streamv1.StreamJob, grant int64, jobID string) corev1.ConfigMap {
	t.Helper()
	ac, err := resources.ConfigMap(job, grant, resources.NewRevision(job, resources.Settings{EngineImage: "weir"}, jobID, ""))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(ac)
	if err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := json.Unmarshal(text, &cm); err != nil {
		t.Fatal(err)
	}
	return cm
}

func TestObserve_TellsWhatIsWanted(t *testing.T) {
	job := newJob()
	e := &plan.Engine{Grant: 3}
	got := Observe(Objects{Job: job, NamespaceEnding: true, Now: now}, e)
	want := plan.Observation{
		Job: job, Revision: resources.RevisionHash(&job.Spec), PolicyRevision: resources.PolicyHash(&job.Spec),
		Engine: e, NamespaceEnding: true,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestObserve_TellsWhatIsInvalid(t *testing.T) {
	job := newJob()
	job.Spec.Program = nil
	job.Spec.Dataflow = &streamv1.Dataflow{Operators: []streamv1.Operator{
		{Name: "a", Inputs: []streamv1.OperatorName{"b"}}, {Name: "b", Inputs: []streamv1.OperatorName{"a"}},
	}}
	job.Spec.Storage = &streamv1.Storage{Volume: &streamv1.VolumeStorage{Path: "/data"}}
	got := Observe(Objects{Job: job, Now: now}, nil).Invalid
	if len(got) != 2 || !strings.Contains(got[0], "cycle") || !strings.Contains(got[1], "claimName") {
		t.Errorf("got %q", got)
	}
}

func TestObserve_SortsObjectsIntoVersions(t *testing.T) {
	job := newJob()
	older := newJob()
	older.Spec.Parallelism, older.Generation = 1, 4
	earlier := newJob()
	earlier.UID = "uid-1"
	broken := corev1.ConfigMap{ObjectMeta: meta("clicks-4", "4", ""), Data: map[string]string{resources.RevisionKey: "{"}}
	ending := configMap(t, job, 5, "")
	ending.DeletionTimestamp = new(ago(time.Second))
	foreign := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Labels: map[string]string{streamv1.LabelJob: "clicks"}}}
	ready := newPod(name("clicks-10-coordinator-x"), label(streamv1.LabelGrant, "10"), label(streamv1.LabelComponent, "coordinator"), running(time.Minute, true))
	o := Objects{
		Job: job, Now: now,
		ConfigMaps: []corev1.ConfigMap{
			configMap(t, job, 10, "job-1"), configMap(t, older, 9, ""), configMap(t, earlier, 3, "job-0"), broken, ending, foreign,
		},
		Deployments:  []appsv1.Deployment{{ObjectMeta: meta("clicks-10-coordinator", "10", "coordinator")}, {ObjectMeta: meta("clicks-1-coordinator", "1", "coordinator")}},
		StatefulSets: []appsv1.StatefulSet{{ObjectMeta: meta("clicks-2-worker", "2", "worker")}},
		Services:     []corev1.Service{{ObjectMeta: meta("clicks-6", "6", "coordinator")}, {ObjectMeta: meta("clicks-x", "x", "")}},
		Pods: []corev1.Pod{
			*newPod(name("w-1"), label(streamv1.LabelGrant, "10"), waiting("ErrImagePull", "no"), created(ago(time.Second))),
			*newPod(name("w-0"), label(streamv1.LabelGrant, "10"), running(time.Minute, true), created(ago(time.Second))),
			*ready,
			*newPod(name("w-2"), label(streamv1.LabelGrant, "10"), deleting),
			*newPod(name("old"), label(streamv1.LabelGrant, "7"), deleting),
			*newPod(name("agent"), label(streamv1.LabelGrant, "11"), label(streamv1.LabelComponent, "agent")),
		},
	}
	stored := func(j *streamv1.StreamJob, jobID string, workers int) *plan.Stored {
		return &plan.Stored{
			Revision: resources.RevisionHash(&j.Spec), PolicyRevision: resources.PolicyHash(&j.Spec), Generation: j.Generation,
			Spec: &j.Spec, Image: "example.com/clicks:1", JobID: jobID,
		}
	}
	want := []plan.Version{
		{Grant: 1, Exists: true},
		{Grant: 2, Exists: true},
		{Grant: 3},
		{Grant: 4},
		{Grant: 5},
		{Grant: 6, Exists: true},
		{Grant: 7, Exists: true},
		{Grant: 9, Stored: stored(older, "", 1)},
		{
			Grant: 10, Stored: stored(job, "job-1", 3), Exists: true,
			Coordinator: []plan.Pod{{Name: "clicks-10-coordinator-x"}},
			Workers:     []plan.Pod{{Name: "w-0"}, {Name: "w-1", Trouble: &plan.Trouble{Reason: streamv1.ReasonImagePullFailed}}},
		},
	}
	got := Observe(o, nil)
	if diff := cmp.Diff(want, got.Versions, cmpopts.IgnoreFields(plan.Trouble{}, "Message")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Agents) != 1 || got.Agents[0].Name != "agent" {
		t.Errorf("agents: %+v", got.Agents)
	}
}

func TestObserve_ForgetsACoordinatorThatHasASuccessor(t *testing.T) {
	coordinator := label(streamv1.LabelComponent, "coordinator")
	evicted := newPod(name("evicted"), coordinator, failed("Evicted", "low on memory"), created(ago(time.Hour)))
	tests := map[string]struct {
		other *corev1.Pod
		want  string
	}{
		"a successor":                     {newPod(name("next"), coordinator), "next"},
		"a successor that ended too":      {newPod(name("next"), coordinator, failed("Evicted", "")), "evicted next"},
		"a successor that is deleted":     {newPod(name("next"), coordinator, deleting), "evicted"},
		"a coordinator of another grant":  {newPod(name("next"), coordinator, label(streamv1.LabelGrant, "2")), "evicted"},
		"a worker of the same grant":      {newPod(name("next")), "evicted"},
		"the same, though it seems older": {newPod(name("next"), coordinator, created(ago(2*time.Hour))), "next"},
	}
	for n, tc := range tests {
		t.Run(n, func(t *testing.T) {
			got := Observe(Objects{Job: newJob(), Now: now, Pods: []corev1.Pod{*evicted, *tc.other}}, nil)
			var names []string
			for _, pod := range got.Versions[0].Coordinator {
				names = append(names, pod.Name)
			}
			if strings.Join(names, " ") != tc.want {
				t.Errorf("coordinators %v, want %s", names, tc.want)
			}
		})
	}
}

func TestObserve_TellsWhyACoordinatorIsNotMade(t *testing.T) {
	d := appsv1.Deployment{ObjectMeta: meta("clicks-1-coordinator", "1", "coordinator")}
	d.Status.Conditions = []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue},
		{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: `pods "clicks-1-coordinator-" is forbidden: exceeded quota: small`},
	}
	pods := Observe(Objects{Job: newJob(), Now: now, Deployments: []appsv1.Deployment{d}}, nil).Versions[0].Coordinator
	if len(pods) != 1 || pods[0].Trouble == nil || pods[0].Trouble.Reason != streamv1.ReasonPodConfigInvalid ||
		!strings.Contains(pods[0].Trouble.Message, "exceeded quota: small (raise the quota") {
		t.Fatalf("got %+v", pods)
	}
	pod := newPod(name("p"), label(streamv1.LabelComponent, "coordinator"))
	pods = Observe(Objects{Job: newJob(), Now: now, Deployments: []appsv1.Deployment{d}, Pods: []corev1.Pod{*pod}}, nil).Versions[0].Coordinator
	if len(pods) != 1 || pods[0].Trouble != nil {
		t.Errorf("with a pod: %+v", pods)
	}
}

// TestObserve_TellsWhatMayPassWithoutAnotherVersion: an upgrade with surge goes on without the new pods only where that may help.
func TestObserve_TellsWhatMayPassWithoutAnotherVersion(t *testing.T) {
	crashing := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}
	}
	pulling := corev1.ContainerStatus{Name: "shipper", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}
	tests := map[string]struct {
		status corev1.PodStatus
		want   bool
	}{
		"the engine ends again and again": {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{crashing("worker")}}, true},
		"a sidecar does":                  {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{crashing("shipper")}}, false},
		"an init container does":          {corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{crashing("fetch")}}, false},
		"an image can't be pulled":        {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{pulling}}, false},
		"it was evicted":                  {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{streamv1.LabelComponent: "worker"}}, Status: tc.status}
			if trouble := TroubleOf(pod, time.Now()); trouble == nil || trouble.Alone != tc.want {
				t.Errorf("got %+v, want Alone %v", trouble, tc.want)
			}
		})
	}
	for message, want := range map[string]bool{"forbidden: exceeded quota: small": true, "forbidden: violates PodSecurity": false} {
		if got := notMade(message).Alone; got != want {
			t.Errorf("%s: got Alone %v, want %v", message, got, want)
		}
	}
}

func TestObserve_ReadsAgents(t *testing.T) {
	result, err := contract.AgentResult{Task: contract.AgentCheck, OK: true, JobID: "job-1"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := &contract.AgentResult{Task: contract.AgentCheck, OK: true, JobID: "job-1"}
	agent := label(streamv1.LabelComponent, "agent")
	tests := map[string]struct {
		pod  *corev1.Pod
		want *plan.Agent
	}{
		"being made":                            {newPod(agent), &plan.Agent{}},
		"running":                               {newPod(agent, running(time.Second, true)), &plan.Agent{}},
		"in trouble":                            {newPod(agent, waiting("ErrImagePull", "no")), &plan.Agent{Trouble: &plan.Trouble{Reason: streamv1.ReasonImagePullFailed}}},
		"with result":                           {newPod(agent, phase(corev1.PodSucceeded), terminated(end(0, "Completed", string(result)))), &plan.Agent{Ended: true, Result: want}},
		"with result, before its phase says so": {newPod(agent, phase(corev1.PodRunning), terminated(end(0, "Completed", string(result)))), &plan.Agent{Ended: true, Result: want}},
		"with result, being deleted":            {newPod(agent, deleting, phase(corev1.PodSucceeded), terminated(end(0, "Completed", string(result)))), &plan.Agent{Ended: true, Result: want}},
		"with result, though it failed":         {newPod(agent, phase(corev1.PodFailed), terminated(end(1, "Error", string(result)))), &plan.Agent{Ended: true, Result: want}},
		"crashed":                               {newPod(agent, phase(corev1.PodFailed), terminated(end(2, "Error", "panic: no"))), &plan.Agent{Ended: true, Message: "container ended with exit code 2: panic: no"}},
		"crashed, with JSON as the end of its log": {newPod(agent, phase(corev1.PodFailed), terminated(end(1, "Error", `{"msg":"no","level":"ERROR"}`))), &plan.Agent{Ended: true, Message: `container ended with exit code 1: {"msg":"no","level":"ERROR"}`}},
		"took too long":          {newPod(agent, failed("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"), terminated(end(137, "Error", ""))), &plan.Agent{Ended: true, Message: "the pod has ended: DeadlineExceeded: Pod was active on the node longer than the specified deadline"}},
		"evicted":                {newPod(agent, failed("Evicted", "low on memory"), func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }), &plan.Agent{Ended: true, Message: "the pod has ended: Evicted: low on memory"}},
		"being deleted":          {newPod(agent, deleting), nil},
		"crashed, being deleted": {newPod(agent, deleting, phase(corev1.PodFailed), terminated(end(143, "Error", ""))), nil},
		"done without a word, which is no trouble":  {newPod(agent, phase(corev1.PodSucceeded), terminated(end(0, "Completed", ""))), &plan.Agent{Ended: true, Message: "container ended with exit code 0"}},
		"without a grant, which is no matter to it": {newPod(agent, label(streamv1.LabelGrant, "")), &plan.Agent{}},
	}
	for n, tc := range tests {
		t.Run(n, func(t *testing.T) {
			got := Observe(Objects{Job: newJob(), Now: now, Pods: []corev1.Pod{*tc.pod}}, nil)
			var agents []plan.Agent
			if tc.want != nil {
				tc.want.Name = "clicks-1-worker-0"
				agents = append(agents, *tc.want)
			}
			if diff := cmp.Diff(agents, got.Agents, cmpopts.IgnoreFields(plan.Trouble{}, "Message")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(got.Versions) > 0 {
				t.Errorf("an agent counts as an object of a version: %+v", got.Versions)
			}
		})
	}
}

func TestObserve_DoesNotDependOnTheOrderOfObjects(t *testing.T) {
	a := newPod(name("a"), created(ago(time.Minute)))
	b := newPod(name("b"), created(ago(time.Minute)))
	c := newPod(name("c"), created(ago(time.Hour)))
	first := Observe(Objects{Job: newJob(), Now: now, Pods: []corev1.Pod{*a, *b, *c}}, nil)
	second := Observe(Objects{Job: newJob(), Now: now, Pods: []corev1.Pod{*c, *b, *a}}, nil)
	if diff := cmp.Diff(first.Versions, second.Versions); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
	if got := first.Versions[0].Workers[0].Name; got != "c" {
		t.Errorf("first is %s, want the oldest", got)
	}
}
