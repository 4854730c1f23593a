// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	psaapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// fullTemplate sets everything that a template has, for the container of a component.
func fullTemplate(component string) *streamv1.PodTemplate {
	return &streamv1.PodTemplate{
		Labels:       map[string]streamv1.ShortText{"team": "data"},
		Annotations:  map[string]streamv1.LongText{"example.com/note": "hello"},
		NodeSelector: map[string]streamv1.ShortText{"pool": "stream"},
		Affinity: &kruntime.RawExtension{Raw: []byte(`{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[` +
			`{"labelSelector":{"matchLabels":{"team":"data"}},"topologyKey":"kubernetes.io/hostname"}]}}`)},
		Tolerations: []streamv1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "stream", Effect: corev1.TaintEffectNoSchedule}},
		TopologySpreadConstraints: []streamv1.TopologySpreadConstraint{
			{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.ScheduleAnyway},
		},
		PriorityClassName: "high", ServiceAccountName: "reader", ServiceAccountToken: "Mounted",
		ImagePullSecrets:              []streamv1.SecretReference{{Name: "registry"}},
		TerminationGracePeriodSeconds: 90,
		Volumes: []streamv1.PodVolume{
			{Name: "settings", ConfigMap: &streamv1.ObjectReference{Name: "settings", Optional: true}},
			{Name: "keys", Secret: &streamv1.ObjectReference{Name: "keys"}},
			{Name: "scratch", EmptyDir: &streamv1.EmptyDirVolume{SizeLimit: new(resource.MustParse("1Gi"))}},
			{Name: "shared", PersistentVolumeClaim: &streamv1.ClaimVolume{ClaimName: "models", ReadOnly: true}},
			{Name: "fast", Ephemeral: &streamv1.EphemeralVolume{StorageClassName: "ssd", Size: new(resource.MustParse("10Gi"))}},
		},
		Containers: []streamv1.PodContainer{
			{
				Name: component,
				Env: []streamv1.EnvVar{
					{Name: "MODE", Value: "fast"},
					{Name: "TOKEN", ValueFrom: &streamv1.EnvSource{SecretKeyRef: &streamv1.KeyReference{Name: "keys", Key: "token"}}},
					{Name: "NODE", ValueFrom: &streamv1.EnvSource{FieldRef: &streamv1.FieldReference{FieldPath: "spec.nodeName"}}},
				},
				EnvFrom:      []streamv1.EnvFrom{{Prefix: "APP_", ConfigMapRef: &streamv1.ObjectReference{Name: "settings"}}},
				Ports:        []streamv1.PodPort{{Name: "debug", ContainerPort: 6060}},
				VolumeMounts: []streamv1.VolumeMount{{Name: "keys", MountPath: "/keys", ReadOnly: true}, {Name: "fast", MountPath: "/fast"}},
			},
			{
				Name: "shipper", Image: "registry.example.com/shipper:2", ImagePullPolicy: corev1.PullAlways,
				Command: []streamv1.LongText{"/ship"}, Args: []streamv1.LongText{"--all"},
				Resources:    &streamv1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
				VolumeMounts: []streamv1.VolumeMount{{Name: "scratch", MountPath: "/var/spool", SubPath: "ship"}},
			},
		},
		InitContainers: []streamv1.InitContainer{{
			Name: "fetch", Image: "registry.example.com/fetch:1", Args: []streamv1.LongText{"model"},
			Env:          []streamv1.EnvVar{{Name: "MODEL", Value: "m"}},
			VolumeMounts: []streamv1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}},
		}},
	}
}

func withTemplates() *streamv1.StreamJob {
	job := onS3()
	job.Spec.NetworkPolicy = streamv1.NetworkPolicyIsolated
	job.Spec.Workers.LostNodeTimeout = metav1.Duration{Duration: 10 * time.Second}
	job.Spec.Workers.PodTemplate = fullTemplate(WorkerComponent)
	job.Spec.Coordinator = &streamv1.Coordinator{PodTemplate: fullTemplate(CoordinatorComponent)}
	return job
}

func TestChildren_OfNewVersionsAreAsTheGoldensSay(t *testing.T) {
	for name, job := range map[string]*streamv1.StreamJob{"new-minimal": minimal(), "new-templates": withTemplates()} {
		t.Run(name, func(t *testing.T) {
			if found := Check(job); len(found) > 0 {
				t.Fatal(found)
			}
			set := children(t, job, 7)
			documents := []any{set.Service, set.Disruption, set.Coordinator, set.Workers, NetworkPolicy(job, "weir-system")}
			pod, err := AgentPod(job, NewRevision(job, settings, "", ""), AgentOptions{Name: "clicks-7-check-0a1b2c3d", Task: plan.CheckTask, Revision: 7, Grant: 7})
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, name, append(documents, pod)...)
			typed[appsv1.Deployment](t, set.Coordinator)
			typed[appsv1.StatefulSet](t, set.Workers)
			typed[corev1.Pod](t, pod)
			typed[policyv1.PodDisruptionBudget](t, set.Disruption)
		})
	}
}

// TestChildren_WorkersDrainForLessThanTheirGrace has workers end by themselves before they are killed, however long the template gives them.
func TestChildren_WorkersDrainForLessThanTheirGrace(t *testing.T) {
	tests := map[string]struct {
		grace int32
		form  int
		want  []string
	}{
		"unset":                          {0, NewestForm, nil},
		"the shortest":                   {1, NewestForm, []string{"--drain-timeout", "1s"}},
		"shorter than the default":       {10, NewestForm, []string{"--drain-timeout", "5s"}},
		"longer than the default":        {300, NewestForm, []string{"--drain-timeout", "4m55s"}},
		"a version of an older operator": {300, FormCalm, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := minimal()
			job.Spec.Workers = &streamv1.Workers{PodTemplate: &streamv1.PodTemplate{TerminationGracePeriodSeconds: tc.grace}}
			job.Spec.Coordinator = &streamv1.Coordinator{PodTemplate: &streamv1.PodTemplate{TerminationGracePeriodSeconds: 100}}
			r := NewRevision(job, settings, "", "6f1c6c1e000040008000000000000001")
			r.Form = tc.form
			set, err := Children(job, 7, r)
			if err != nil {
				t.Fatal(err)
			}
			args := typed[appsv1.StatefulSet](t, set.Workers).Spec.Template.Spec.Containers[0].Args
			var got []string
			if i := slices.Index(args, "--drain-timeout"); i >= 0 {
				got = args[i:]
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if args := typed[appsv1.Deployment](t, set.Coordinator).Spec.Template.Spec.Containers[0].Args; slices.Contains(args, "--drain-timeout") {
				t.Errorf("the coordinator has it too: %v", args)
			}
		})
	}
}

// TestPodTemplate_LeavesWhatTheEngineDependsOn adds a full template and finds everything that pods have without one, unchanged.
func TestPodTemplate_LeavesWhatTheEngineDependsOn(t *testing.T) {
	job := withTemplates()
	with := typed[appsv1.StatefulSet](t, children(t, job, 1).Workers)
	job.Spec.Workers.PodTemplate = nil
	without := typed[appsv1.StatefulSet](t, children(t, job, 1).Workers)
	got, want := with.Spec.Template.Spec.Containers[0], without.Spec.Template.Spec.Containers[0]
	for _, e := range want.Env {
		if !slices.ContainsFunc(got.Env, func(have corev1.EnvVar) bool { return cmp.Equal(have, e) }) {
			t.Errorf("variable %s has gone", e.Name)
		}
	}
	for _, m := range want.VolumeMounts {
		if !slices.ContainsFunc(got.VolumeMounts, func(have corev1.VolumeMount) bool { return cmp.Equal(have, m) }) {
			t.Errorf("the mount at %s has gone", m.MountPath)
		}
	}
	for _, v := range without.Spec.Template.Spec.Volumes {
		if !slices.ContainsFunc(with.Spec.Template.Spec.Volumes, func(have corev1.Volume) bool { return cmp.Equal(have, v) }) {
			t.Errorf("volume %s has gone", v.Name)
		}
	}
	for key, value := range without.Spec.Template.Labels {
		if with.Spec.Template.Labels[key] != value {
			t.Errorf("label %s has gone", key)
		}
	}
	want.Args = append(want.Args, "--drain-timeout", "1m25s") // follows from how long the template gives the pod to end
	got.Env, want.Env, got.VolumeMounts, want.VolumeMounts, got.EnvFrom = nil, nil, nil, nil, nil
	got.Ports = slices.DeleteFunc(got.Ports, func(p corev1.ContainerPort) bool { return p.Name == "debug" })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the container of the engine (-without +with):\n%s", diff)
	}
	if *without.Spec.Template.Spec.AutomountServiceAccountToken {
		t.Error("a pod gets a token that nobody asked for")
	}
}

func TestPodTemplate_PodsPassTheRestrictedPodSecurityStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	job := withTemplates()
	set := children(t, job, 1)
	d, s := typed[appsv1.Deployment](t, set.Coordinator), typed[appsv1.StatefulSet](t, set.Workers)
	a := agent(t, job, AgentOptions{Name: "agent", Task: plan.CheckTask, Revision: 1, Grant: 1})
	level := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
	for name, pod := range map[string]corev1.PodTemplateSpec{
		"coordinator": d.Spec.Template, "worker": s.Spec.Template, "agent": {ObjectMeta: a.ObjectMeta, Spec: a.Spec},
	} {
		if r := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
			t.Errorf("%s: %s (%s)", name, r.ForbiddenReason(), r.ForbiddenDetail())
		}
	}
}

func TestAgentPod_HasNoSidecarsOfTheTemplate(t *testing.T) {
	pod := agent(t, withTemplates(), AgentOptions{Name: "agent", Task: plan.FenceTask, Revision: 1, Grant: 2})
	if len(pod.Spec.Containers) != 1 || pod.Spec.Containers[0].Name != AgentComponent {
		t.Errorf("an agent that never ends: %v", pod.Spec.Containers)
	}
	if pod.Labels["team"] != "" || pod.Spec.Affinity.PodAntiAffinity != nil {
		t.Errorf("pods that serve may keep an agent off their nodes: %v, %v", pod.Labels, pod.Spec.Affinity)
	}
	if len(pod.Spec.InitContainers) != 1 || pod.Spec.NodeSelector["pool"] != "stream" || pod.Spec.ImagePullSecrets[0].Name != "registry" {
		t.Errorf("an agent that does not start where the coordinator does: %+v", pod.Spec)
	}
}

func TestCheck_RefusesTemplatesThatTakeTheEnginesPlace(t *testing.T) {
	container := func(c streamv1.PodContainer) func(*streamv1.PodTemplate) {
		return func(p *streamv1.PodTemplate) { p.Containers = []streamv1.PodContainer{c} }
	}
	engineMount := func(path string) func(*streamv1.PodTemplate) {
		return container(streamv1.PodContainer{Name: "worker", VolumeMounts: []streamv1.VolumeMount{{Name: "keys", MountPath: path}}})
	}
	engineEnv := func(e streamv1.EnvVar) func(*streamv1.PodTemplate) {
		return container(streamv1.PodContainer{Name: "worker", Env: []streamv1.EnvVar{e}})
	}
	own := func(c streamv1.PodContainer) func(*streamv1.PodTemplate) {
		c.Name, c.Image = "own", "i"
		return container(c)
	}
	tests := map[string]struct {
		change func(*streamv1.PodTemplate)
		want   string
	}{
		"label":        {func(p *streamv1.PodTemplate) { p.Labels = map[string]streamv1.ShortText{streamv1.LabelJob: "other"} }, "labels[stream.weir.dev/job]: Forbidden"},
		"bad label":    {func(p *streamv1.PodTemplate) { p.Labels = map[string]streamv1.ShortText{"a": "b c"} }, "labels: Invalid value"},
		"annotation":   {func(p *streamv1.PodTemplate) { p.Annotations = map[string]streamv1.LongText{"x.stream.weir.dev/a": ""} }, "Forbidden"},
		"affinity":     {func(p *streamv1.PodTemplate) { p.Affinity.Raw = []byte(`{"nodeAffinty":{}}`) }, "affinity: Invalid value: it is not the affinity"},
		"token":        {func(p *streamv1.PodTemplate) { p.ServiceAccountName = "" }, "serviceAccountName: Required"},
		"lost node":    {func(p *streamv1.PodTemplate) { p.Tolerations[0].Key = corev1.TaintNodeUnreachable }, "spec.workers.lostNodeTimeout"},
		"volume":       {func(p *streamv1.PodTemplate) { p.Volumes[0].Name = "tls" }, `volumes[0].name: Forbidden`},
		"volume twice": {func(p *streamv1.PodTemplate) { p.Volumes[0].Name = "keys" }, `volumes[1].name: Duplicate`},
		"image":        {container(streamv1.PodContainer{Name: "worker", Image: "i"}), "containers[0].image: Forbidden: it is set by the operator"},
		"command":      {container(streamv1.PodContainer{Name: "worker", Command: []streamv1.LongText{"sh"}}), "command: Forbidden"},
		"args":         {container(streamv1.PodContainer{Name: "worker", Args: []streamv1.LongText{"x"}}), "spec.program.args"},
		"resources":    {container(streamv1.PodContainer{Name: "worker", Resources: &streamv1.Resources{}}), "spec.workers.resources"},
		"no image":     {container(streamv1.PodContainer{Name: "own"}), `containers[0].image: Required`},
		"other name":   {container(streamv1.PodContainer{Name: "coordinator", Image: "i"}), `is named "worker" here`},
		"twice":        {func(p *streamv1.PodTemplate) { p.InitContainers[0].Name = "shipper" }, "initContainers[0].name: Duplicate"},
		"init":         {func(p *streamv1.PodTemplate) { p.Containers = nil; p.InitContainers[0].Name = "worker" }, "initContainers[0].name: Forbidden"},
		"env":          {engineEnv(streamv1.EnvVar{Name: "POD_NAME", Value: "x"}), "POD_NAME is set by the operator"},
		"credentials":  {engineEnv(streamv1.EnvVar{Name: "AWS_ACCESS_KEY_ID", ValueFrom: &streamv1.EnvSource{}}), "AWS_ACCESS_KEY_ID is set by the operator"},
		"literal":      {own(streamv1.PodContainer{Env: []streamv1.EnvVar{{Name: "AWS_SECRET_ACCESS_KEY", Value: "s3cr3t"}}}), "credentials are not written into a StreamJob"},
		"tls":          {engineMount("/etc/weir/tls"), "the engine needs /etc/weir"},
		"above tls":    {engineMount("/etc"), "the engine needs /etc/weir"},
		"tmp":          {engineMount("/tmp/x"), "the engine needs /tmp"},
		"root":         {engineMount("/"), "absolute path below /"},
		"dots":         {engineMount("/keys/../etc"), "without .."},
		"sub path":     {own(streamv1.PodContainer{VolumeMounts: []streamv1.VolumeMount{{Name: "keys", MountPath: "/k", SubPath: "a/../../b"}}}), "subPath: Invalid"},
		"no volume":    {own(streamv1.PodContainer{VolumeMounts: []streamv1.VolumeMount{{Name: "tls", MountPath: "/k"}}}), `volumeMounts[0].name: Not found: "tls"`},
		"port":         {own(streamv1.PodContainer{Ports: []streamv1.PodPort{{ContainerPort: DataPort}}}), "port 6124 of the pod is that of the engine"},
		"port name":    {own(streamv1.PodContainer{Ports: []streamv1.PodPort{{Name: "health", ContainerPort: 9000}}}), "name of a port of the engine"},
		"no size":      {func(p *streamv1.PodTemplate) { p.Volumes[4].Ephemeral.Size = nil }, "ephemeral.size: Required"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := withTemplates()
			tc.change(job.Spec.Workers.PodTemplate)
			got := strings.Join(Check(job), "\n")
			if !strings.Contains(got, tc.want) || !strings.HasPrefix(got, "spec.workers.podTemplate") {
				t.Errorf("got %q, want it to name %q", got, tc.want)
			}
			if strings.Contains(got, "s3cr3t") {
				t.Errorf("the message repeats a credential: %s", got)
			}
		})
	}
}

// TestPodTemplate_UnsetIsNoNewVersion also covers what an upgrade of the operator must not do.
func TestPodTemplate_UnsetIsNoNewVersion(t *testing.T) {
	plain, empty := onS3(), onS3()
	empty.Spec.NetworkPolicy = streamv1.NetworkPolicyIsolated
	if RevisionHash(&plain.Spec) != RevisionHash(&empty.Spec) || PolicyHash(&plain.Spec) != PolicyHash(&empty.Spec) {
		t.Error("a network policy is a new version")
	}
	text, err := json.Marshal(onS3().Spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"podTemplate", "lostNodeTimeout", "networkPolicy"} {
		if strings.Contains(string(text), field) {
			t.Errorf("%s is stored though it is unset", field)
		}
	}
}

func TestNetworkPolicy_OfAnOperatorAnywhereNamesNoNamespace(t *testing.T) {
	p := NetworkPolicy(minimal(), "")
	if s := p.Spec.Ingress[1].From[0].NamespaceSelector; s == nil || len(s.MatchLabels) != 0 {
		t.Errorf("got %+v", s)
	}
}
