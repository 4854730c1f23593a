// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"

	. "github.com/onsi/gomega"
)

// template is a podTemplate with something of every kind, for the container of a component.
func template(component string) string {
	return `podTemplate: {labels: {team: data}, annotations: {example.com/a: b}, nodeSelector: {pool: stream},
    affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {team: data}}}}]}},
    tolerations: [{key: dedicated, operator: Exists}], topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}],
    priorityClassName: high, serviceAccountName: reader, imagePullSecrets: [{name: registry}], terminationGracePeriodSeconds: 60,
    volumes: [{name: c, configMap: {name: c}}, {name: s, secret: {secretName: s}}, {name: e, emptyDir: {sizeLimit: 1Gi}}, {name: p, persistentVolumeClaim: {claimName: p}}, {name: f, ephemeral: {size: 1Gi}}],
    containers: [{name: ` + component + `, env: [{name: A, value: b}], envFrom: [{secretRef: {name: s}}], ports: [{name: debug, containerPort: 6060}], volumeMounts: [{name: e, mountPath: /e}]},
      {name: side, image: side:1, command: [run], resources: {limits: {memory: 1Mi}}, volumeMounts: [{name: e, mountPath: /e}]}],
    initContainers: [{name: first, image: first:1, env: [{name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}`
}

// templates returns the fields of a spec with templates for both components.
func templates() []string {
	both := "workers: {replicas: 2, slotsPerWorker: 2, " + template("worker") + "}\n  coordinator: {" + template("coordinator") + "}"
	return []string{strings.ReplaceAll(both, "{secretName: s}", "{name: s}"), "networkPolicy: Isolated", rulestest.Flow}
}

// deployedObjects waits until grant 1 has all its objects.
func (c *cluster) deployedObjects() (*appsv1.Deployment, *appsv1.StatefulSet, *policyv1.PodDisruptionBudget) {
	c.t.Helper()
	d, s, p := &appsv1.Deployment{}, &appsv1.StatefulSet{}, &policyv1.PodDisruptionBudget{}
	NewWithT(c.t).Eventually(func() error {
		for o, name := range map[client.Object]string{d: "j-1-coordinator", s: "j-1-worker", p: "j-1"} {
			if err := admin.Get(c.t.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, o); err != nil {
				return err
			}
		}
		return nil
	}).WithTimeout(patience).Should(Succeed(), "the objects of the first version")
	return d, s, p
}

func TestOperator_PodTemplatesReachThePods(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	o := c.operate()
	c.create(templates()...)
	d, s, p := c.deployedObjects()
	for name, pod := range map[string]corev1.PodTemplateSpec{"coordinator": d.Spec.Template, "worker": s.Spec.Template} {
		spec := pod.Spec
		if len(spec.Containers) != 2 || spec.Containers[0].Name != name || spec.Containers[1].Name != "side" || len(spec.InitContainers) != 1 ||
			pod.Labels["team"] != "data" || spec.ServiceAccountName != "reader" || *spec.AutomountServiceAccountToken || spec.PriorityClassName != "high" {
			t.Errorf("%s: %+v", name, pod)
		}
	}
	if p.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("disruption budget: %+v", p.Spec)
	}
	np := &networkingv1.NetworkPolicy{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "j-isolated"}, np); err != nil {
		t.Error(err)
	}
	// What the API server adds to such objects is no reason to apply them again.
	o.rests(t)
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.NetworkPolicy = streamv1.NetworkPolicyNone })
	NewWithT(t).Eventually(func() bool {
		return apierrors.IsNotFound(admin.Get(t.Context(), client.ObjectKeyFromObject(np), np))
	}).WithTimeout(patience).Should(BeTrue(), "the policy goes")
	after, _, _ := c.deployedObjects()
	if after.Generation != d.Generation {
		t.Error("ending the isolation changed the pods")
	}
}

// TestOperator_ATemplateThatTheAPIServerRefusesStopsNothing takes an upgrade whose pods can't be made, as only the API server can tell.
func TestOperator_ATemplateThatTheAPIServerRefusesStopsNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("storage: {s3: {bucket: bkt}}", "checkpointing: {interval: 1s}", rulestest.Flow)
	c.deployedObjects()
	NewWithT(t).Eventually(func() streamv1.Phase { return c.job().Status.Phase }).WithTimeout(patience).Should(Equal(streamv1.PhaseRunning))
	c.edit(func(spec *streamv1.StreamJobSpec) {
		spec.Workers = &streamv1.Workers{PodTemplate: &streamv1.PodTemplate{
			Tolerations: []streamv1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists, Value: "not with Exists"}},
		}}
	})
	NewWithT(t).Eventually(func() string {
		said := ""
		for _, condition := range c.job().Status.Conditions {
			said += condition.Message + "\n"
		}
		return said
	}).WithTimeout(patience).Should(And(ContainSubstring("podTemplate"), ContainSubstring("tolerations")))
	if got := c.job().Status.Deployment; got.Grant != 1 || got.Ended != "" {
		t.Errorf("the old version: %+v", got)
	}
	c.deployedObjects()
}

// tenant makes a user with the rights of config/namespaced/tenant and nothing else, and returns its name.
func (c *cluster) tenant() string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "namespaced", "tenant", "role.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	role := &rbacv1.Role{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		c.t.Fatal(err)
	}
	role.Namespace = c.namespace
	user := "operator-of-" + c.namespace
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "weir-manager"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := admin.Create(c.t.Context(), o); err != nil {
			c.t.Fatal(err)
		}
	}
	return user
}

// TestOperator_WithRightsInOneNamespace runs the operator with the rights of config/namespaced/tenant and nothing else.
func TestOperator_WithRightsInOneNamespace(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	user := c.tenant()
	c.operate(as(user))
	c.create("storage: {s3: {bucket: bkt}}", "checkpointing: {interval: 1s}", "networkPolicy: Isolated", rulestest.Flow)
	NewWithT(t).Eventually(func() streamv1.Phase { return c.job().Status.Phase }).WithTimeout(patience).Should(Equal(streamv1.PhaseRunning))

	cfg := rest.CopyConfig(server)
	cfg.Impersonate.UserName = user
	operator, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	other := makeNamespace(t)
	refused := map[string]func(context.Context) error{
		"listing secrets": func(ctx context.Context) error {
			return operator.List(ctx, &corev1.SecretList{}, client.InNamespace(c.namespace))
		},
		"a secret of another namespace": func(ctx context.Context) error {
			return operator.Get(ctx, client.ObjectKey{Namespace: other, Name: "s"}, &corev1.Secret{})
		},
		"StreamJobs of another namespace": func(ctx context.Context) error {
			return operator.List(ctx, &streamv1.StreamJobList{}, client.InNamespace(other))
		},
		"a pod in another namespace": func(ctx context.Context) error {
			return operator.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "p"}})
		},
		"deleting a secret": func(ctx context.Context) error {
			return operator.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "j-ca"}})
		},
		"a right for somebody": func(ctx context.Context) error {
			return operator.Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "r"}})
		},
		"a namespace": func(ctx context.Context) error {
			return operator.Get(ctx, client.ObjectKey{Name: other}, &corev1.Namespace{})
		},
	}
	for what, try := range refused {
		if err := try(t.Context()); !apierrors.IsForbidden(err) {
			t.Errorf("%s: the API server said %v", what, err)
		}
	}
	if err := admin.Delete(t.Context(), c.job()); err != nil {
		t.Fatal(err)
	}
	NewWithT(t).Eventually(func() bool { return c.job() == nil }).WithTimeout(patience).Should(BeTrue(), "it is deleted")
}

// TestOperator_WithRightsInOneNamespace_DoesAllItsWork has the operator with the same rights upgrade, roll out a template, take and delete snapshots by
// agents, keep to a schedule, suspend, and delete a job with a savepoint.
func TestOperator_WithRightsInOneNamespace_DoesAllItsWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate(as(c.tenant()))
	before := c.startTwo("upgrade: {surge: IfPossible}")
	c.edit(parallelism(3))
	job := c.running()
	checkUpgraded(t, c, before, job)
	c.edit(func(spec *streamv1.StreamJobSpec) { // not before: a savepoint by schedule would be one too many
		spec.Savepoint = &streamv1.Savepoint{Schedule: "* * * * *", Retention: &streamv1.SavepointRetention{Count: 1}}
	})
	c.running()

	makeSnapshot(t, c.namespace, "mine", "jobRef: {name: j}, reclaimPolicy: Delete")
	path := c.completes("mine").Status.Path
	c.eventually("one by schedule", func() error {
		list := &streamv1.StreamSnapshotList{}
		if err := admin.List(t.Context(), list, client.InNamespace(c.namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			if s := &list.Items[i]; s.Name != "mine" && s.Status.State == streamv1.SnapshotCompleted {
				return nil
			}
		}
		c.clock.pass(20 * time.Second)
		c.touch() // the next look would be by the real clock
		return errors.New("there is none")
	})
	c.edit(state(streamv1.StateSuspended))
	c.suspended()
	c.edit(state(streamv1.StateRunning))
	c.running()

	c.edit(func(spec *streamv1.StreamJobSpec) { spec.DeletionPolicy = streamv1.SavepointOnDeletion })
	saved := len(c.storage.lineage("j").savepoints())
	if err := admin.Delete(t.Context(), c.job()); err != nil {
		t.Fatal(err)
	}
	c.gone()
	if got := len(c.storage.lineage("j").savepoints()); got <= saved {
		t.Errorf("%d savepoints before the deletion, %d after it", saved, got)
	}
	if err := admin.Delete(t.Context(), c.snapshot("mine")); err != nil {
		t.Fatal(err)
	}
	c.eventually("the snapshot is gone", func() error {
		if c.snapshot("mine") != nil {
			return errors.New("it is there")
		}
		return nil
	})
	if got := c.storage.asked("Agent remove"); len(got) == 0 || !strings.Contains(strings.Join(got, " "), path) {
		t.Errorf("agents were asked for %v, want the removal of %s", got, path)
	}
}
