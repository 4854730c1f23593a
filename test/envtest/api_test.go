// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	streamv1ac "github.com/weir-stream/weir/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
)

func TestAPI_Definition(t *testing.T) {
	t.Parallel()
	var definition apiextensionsv1.CustomResourceDefinition
	if err := admin.Get(t.Context(), client.ObjectKey{Name: "streamjobs.stream.weir.dev"}, &definition); err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(&definition)
	if err != nil {
		t.Fatal(err)
	}
	// An annotation holds at most 256 KiB, and kubectl apply keeps the whole object in one.
	if limit := 256_000; len(stored) >= limit {
		t.Errorf("the definition as it is stored has %d bytes, want less than %d", len(stored), limit)
	}
	for _, c := range definition.Status.Conditions {
		if c.Type == apiextensionsv1.NonStructuralSchema && c.Status == apiextensionsv1.ConditionTrue {
			t.Errorf("the schema is not structural: %s", c.Message)
		}
	}
}

func TestAPI_Discovery(t *testing.T) {
	t.Parallel()
	d, err := discovery.NewDiscoveryClientForConfig(server)
	if err != nil {
		t.Fatal(err)
	}
	list, err := d.ServerResourcesForGroupVersion(streamv1.SchemeGroupVersion.String())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]metav1.APIResource{}
	for _, r := range list.APIResources {
		found[r.Name] = r
	}
	jobs := found["streamjobs"]
	if jobs.Kind != "StreamJob" || !jobs.Namespaced || !slices.Equal(jobs.ShortNames, []string{"sj"}) || !slices.Equal(jobs.Categories, []string{"weir"}) {
		t.Errorf("streamjobs is served as %+v", jobs)
	}
	snapshots := found["streamsnapshots"]
	if snapshots.Kind != "StreamSnapshot" || !slices.Equal(snapshots.ShortNames, []string{"ssnap"}) || found["streamsnapshots/status"].Kind != "StreamSnapshot" {
		t.Errorf("streamsnapshots is served as %+v", snapshots)
	}
	if found["streamjobs/status"].Kind != "StreamJob" || found["streamjobs/scale"].Kind != "Scale" || len(found) != 5 {
		t.Errorf("served are %v, want streamjobs with status and scale, and streamsnapshots with status", slices.Sorted(maps.Keys(found)))
	}
}

// TestAPI_NoDefaults keeps what is stored as it was written: unset fields mean what the operator makes of them.
func TestAPI_NoDefaults(t *testing.T) {
	t.Parallel()
	job := makeJob(t, makeNamespace(t), "checkpointing: {interval: 10s}", "storage: {s3: {bucket: bkt}}", "workers: {replicas: 1}",
		"restart: {exponentialDelay: {}}", "upgrade: {allowNonRestoredState: true}", rulestest.Flow)
	var stored unstructured.Unstructured
	stored.SetGroupVersionKind(streamv1.SchemeGroupVersion.WithKind("StreamJob"))
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(job), &stored); err != nil {
		t.Fatal(err)
	}
	want, err := kruntime.DefaultUnstructuredConverter.ToUnstructured(&job.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, stored.Object["spec"]); diff != "" {
		t.Errorf("spec (-created +stored):\n%s", diff)
	}
	if _, ok := stored.Object["status"]; ok {
		t.Errorf("a new StreamJob has the status %v", stored.Object["status"])
	}
}

func TestAPI_StatusIsASubresource(t *testing.T) {
	t.Parallel()
	job := readJob(t, rulestest.WithSpec())
	job.Namespace, job.Status = makeNamespace(t), streamv1.StreamJobStatus{Grant: 7}
	if err := admin.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if job.Status.Grant != 0 {
		t.Error("creating a StreamJob wrote its status")
	}
	job.Status.Grant, job.Spec.Parallelism = 8, 2
	if err := admin.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if job.Status.Grant != 0 || job.Generation != 2 {
		t.Errorf("an edit of the spec left grant %d, generation %d, want 0, 2", job.Status.Grant, job.Generation)
	}
	job.Status.Grant, job.Spec.Parallelism = 9, 3
	if err := admin.Status().Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if job.Status.Grant != 9 || job.Spec.Parallelism != 2 || job.Generation != 2 {
		t.Errorf("a write of the status left grant %d, parallelism %d, generation %d, want 9, 2, 2",
			job.Status.Grant, job.Spec.Parallelism, job.Generation)
	}
}

func TestAPI_Scale(t *testing.T) {
	t.Parallel()
	job := makeJob(t, makeNamespace(t), "parallelism: 2", "maxParallelism: 4", rulestest.Flow)
	job.Status.Parallelism, job.Status.Selector = 2, "a=b"
	if err := admin.Status().Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	var scale autoscalingv1.Scale
	if err := admin.SubResource("scale").Get(t.Context(), job, &scale); err != nil {
		t.Fatal(err)
	}
	if scale.Spec.Replicas != 2 || scale.Status.Replicas != 2 || scale.Status.Selector != "a=b" {
		t.Errorf("the scale is %+v", scale)
	}
	scale.Spec.Replicas = 5
	want := []string{"spec.parallelism: Invalid value: parallelism must not be larger than maxParallelism"}
	if diff := cmp.Diff(want, causes(t, admin.SubResource("scale").Update(t.Context(), job.DeepCopy(), client.WithSubResourceBody(&scale)))); diff != "" {
		t.Errorf("messages for a scale above maxParallelism (-want +got):\n%s", diff)
	}
	scale.Spec.Replicas = 4
	if err := admin.SubResource("scale").Update(t.Context(), job.DeepCopy(), client.WithSubResourceBody(&scale)); err != nil {
		t.Fatal(err)
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(job), job); err != nil {
		t.Fatal(err)
	}
	if job.Spec.Parallelism != 4 {
		t.Errorf("parallelism is %d after scaling, want 4", job.Spec.Parallelism)
	}
}

// TestAPI_Columns asks for the table that kubectl get prints.
func TestAPI_Columns(t *testing.T) {
	t.Parallel()
	job := makeJob(t, makeNamespace(t), "parallelism: 3", rulestest.Flow)
	job.Status = streamv1.StreamJobStatus{
		Phase: streamv1.PhaseRunning, Parallelism: 2,
		Job: &streamv1.JobReport{Restarts: 3},
		LastCheckpoint: &streamv1.SnapshotReport{
			ID: 41, CompletedAt: metav1.NewTime(time.Now().Add(-90 * time.Second)),
		},
	}
	apimeta.SetStatusCondition(&job.Status.Conditions, metav1.Condition{
		Type: streamv1.ConditionReady, Status: metav1.ConditionTrue, Reason: streamv1.ReasonRunning, Message: "all is well",
	})
	if err := admin.Status().Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(server)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := clientset.RESTClient().Get().AbsPath("/apis/stream.weir.dev/v1alpha1/namespaces/"+job.Namespace+"/streamjobs/j").
		SetHeader("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(answer, &table); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	var order []string
	for i, column := range table.ColumnDefinitions {
		got[column.Name] = table.Rows[0].Cells[i]
		if column.Priority == 0 {
			order = append(order, column.Name)
		}
	}
	if diff := cmp.Diff([]string{"Name", "State", "Ready", "Checkpoint", "Checkpointed", "Restarts", "Parallelism", "Age"}, order); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	delete(got, "Age")
	want := map[string]any{
		"Name": "j", "State": "Running", "Ready": "True", "Checkpoint": 41.0, "Checkpointed": "90s", "Restarts": 3.0, "Parallelism": 2.0,
		"Reason": "Running", "Message": "all is well",
	}
	if got["Checkpointed"] == "91s" || got["Checkpointed"] == "92s" {
		got["Checkpointed"] = "90s"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

// TestAPI_ServerSideApply applies a StreamJob with the generated configurations, as two owners of different fields.
func TestAPI_ServerSideApply(t *testing.T) {
	t.Parallel()
	namespace := makeNamespace(t)
	spec := streamv1ac.StreamJobSpec().WithDataflow(streamv1ac.Dataflow().WithOperators(
		streamv1ac.Operator().WithName("in").WithGenerator(streamv1ac.GeneratorSource().WithRows(1)),
		streamv1ac.Operator().WithName("out").WithInputs("in").WithLog(streamv1.LogSink{}),
	))
	if err := admin.Apply(t.Context(), streamv1ac.StreamJob("j", namespace).WithSpec(spec), client.FieldOwner("author")); err != nil {
		t.Fatal(err)
	}
	scaled := streamv1ac.StreamJob("j", namespace).WithSpec(streamv1ac.StreamJobSpec().WithParallelism(3))
	if err := admin.Apply(t.Context(), scaled, client.FieldOwner("autoscaler")); err != nil {
		t.Fatal(err)
	}
	var job streamv1.StreamJob
	key := client.ObjectKey{Namespace: namespace, Name: "j"}
	if err := admin.Get(t.Context(), key, &job); err != nil {
		t.Fatal(err)
	}
	if job.Spec.Parallelism != 3 || len(job.Spec.Dataflow.Operators) != 2 {
		t.Errorf("the spec is %+v", job.Spec)
	}
	// The list of operators is a map by name: another owner may add one without knowing the others.
	more := streamv1ac.StreamJob("j", namespace).WithSpec(streamv1ac.StreamJobSpec().WithDataflow(streamv1ac.Dataflow().WithOperators(
		streamv1ac.Operator().WithName("log").WithInputs("in").WithLog(streamv1.LogSink{}))))
	if err := admin.Apply(t.Context(), more, client.FieldOwner("debugger")); err != nil {
		t.Fatal(err)
	}
	status := streamv1ac.StreamJob("j", namespace).WithStatus(streamv1ac.StreamJobStatus().WithGrant(5))
	if err := admin.Status().Apply(t.Context(), status, client.FieldOwner("operator")); err != nil {
		t.Fatal(err)
	}
	if err := admin.Get(t.Context(), key, &job); err != nil {
		t.Fatal(err)
	}
	if len(job.Spec.Dataflow.Operators) != 3 || job.Spec.Parallelism != 3 || job.Status.Grant != 5 {
		t.Errorf("the StreamJob is %+v", job)
	}
	extracted, err := streamv1ac.ExtractStreamJob(&job, "autoscaler")
	if err != nil {
		t.Fatal(err)
	}
	if extracted.Spec == nil || extracted.Spec.Parallelism == nil || *extracted.Spec.Parallelism != 3 || extracted.Spec.Dataflow != nil {
		t.Errorf("the autoscaler owns %+v, want the parallelism alone", extracted.Spec)
	}
}
