// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

// kubelet plays all that a cluster has besides its API server, for all tests: it makes the pods of Deployments and StatefulSets,
// starts them, runs agents, and collects the pods whose owner is gone.
type kubelet struct {
	// counting lets one list at a time be taken over: otherwise an older one could come after a newer one.
	counting sync.Mutex
	client   client.Client
	ips      atomic.Int64

	mu struct {
		sync.Mutex
		// worlds by namespace.
		worlds map[string]*cluster
		// addresses of coordinators by their pods, and what ends those that serve.
		addresses map[types.NamespacedName]string
		servers   map[types.NamespacedName]func()
	}
}

// nodes are those of all tests.
var nodes = newKubelet()

func newKubelet() *kubelet {
	k := &kubelet{}
	k.mu.worlds, k.mu.addresses, k.mu.servers = map[string]*cluster{}, map[types.NamespacedName]string{}, map[types.NamespacedName]func(){}
	return k
}

// run plays until ctx ends.
func (k *kubelet) run(ctx context.Context) error {
	mgr, err := ctrl.NewManager(server, quietManager())
	if err != nil {
		return fmt.Errorf("making the manager of the kubelet: %w", err)
	}
	k.client = mgr.GetClient()
	parallel := controller.Options{MaxConcurrentReconciles: 4}
	deployments := workloads{k, func() workload { return &deployment{} }}
	if err := ctrl.NewControllerManagedBy(mgr).For(&appsv1.Deployment{}).Owns(&corev1.Pod{}).WithOptions(parallel).Complete(deployments); err != nil {
		return err
	}
	statefulSets := workloads{k, func() workload { return &statefulSet{} }}
	if err := ctrl.NewControllerManagedBy(mgr).For(&appsv1.StatefulSet{}).Owns(&corev1.Pod{}).WithOptions(parallel).Complete(statefulSets); err != nil {
		return err
	}
	if err := ctrl.NewControllerManagedBy(mgr).For(&corev1.Pod{}).WithOptions(parallel).Complete(pods{k}); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func (k *kubelet) world(namespace string) *cluster {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.worlds[namespace]
}

func (k *kubelet) join(c *cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.worlds[c.namespace] = c
}

// workload is a Deployment or StatefulSet.
type workload interface {
	object() client.Object
	// wants returns how many pods there should be, and how they are made.
	wants() (int, *corev1.PodTemplateSpec)
}

type deployment struct{ appsv1.Deployment }

func (d *deployment) object() client.Object { return &d.Deployment }
func (d *deployment) wants() (int, *corev1.PodTemplateSpec) {
	return int(*d.Spec.Replicas), &d.Spec.Template
}

type statefulSet struct{ appsv1.StatefulSet }

func (s *statefulSet) object() client.Object { return &s.StatefulSet }
func (s *statefulSet) wants() (int, *corev1.PodTemplateSpec) {
	return int(*s.Spec.Replicas), &s.Spec.Template
}

// workloads makes the pods of workloads.
type workloads struct {
	*kubelet
	empty func() workload
}

// Reconcile makes the pods that are missing, and deletes those whose owner is gone.
func (k workloads) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if k.world(req.Namespace) == nil {
		return ctrl.Result{}, nil
	}
	w := k.empty()
	err := k.client.Get(ctx, req.NamespacedName, w.object())
	if err != nil && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, err
	}
	have, err := k.podsOf(ctx, req.NamespacedName, w.object())
	if err != nil {
		return ctrl.Result{}, err
	}
	if w.object().GetUID() == "" || w.object().GetDeletionTimestamp() != nil {
		for i := range have {
			if err := k.client.Delete(ctx, &have[i], client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
				return ctrl.Result{}, err
			}
		}
		return ctrl.Result{}, nil
	}
	want, template := w.wants()
	for i := range want {
		name := fmt.Sprintf("%s-%d", req.Name, i)
		if slices.ContainsFunc(have, func(p corev1.Pod) bool { return strings.HasPrefix(p.Name, name+"-") }) {
			continue
		}
		pod := &corev1.Pod{Spec: template.Spec}
		pod.GenerateName, pod.Namespace, pod.Labels = name+"-", req.Namespace, template.Labels
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: kind(w.object()), Name: req.Name, UID: w.object().GetUID(), Controller: new(true),
		}}
		if err := admin.Create(ctx, pod); err != nil {
			return ctrl.Result{}, fmt.Errorf("making a pod of %s: %w", req.Name, err)
		}
	}
	return ctrl.Result{}, nil
}

func kind(o client.Object) string {
	if _, ok := o.(*appsv1.Deployment); ok {
		return "Deployment"
	}
	return "StatefulSet"
}

// podsOf returns the pods of a workload. They are read without the cache, so that none is made twice.
func (k *kubelet) podsOf(ctx context.Context, owner types.NamespacedName, o client.Object) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := admin.List(ctx, &list, client.InNamespace(owner.Namespace)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return len(p.OwnerReferences) != 1 || p.OwnerReferences[0].Name != owner.Name || p.OwnerReferences[0].Kind != kind(o)
	}), nil
}

// pods runs pods.
type pods struct{ *kubelet }

// Reconcile starts a pod that does not run, and ends what ran in one that is gone.
func (k pods) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	world := k.world(req.Namespace)
	if world == nil {
		return ctrl.Result{}, nil
	}
	var pod corev1.Pod
	err := k.client.Get(ctx, req.NamespacedName, &pod)
	switch {
	case apierrors.IsNotFound(err):
		k.ended(world, req.NamespacedName)
		return ctrl.Result{}, k.count(ctx, world)
	case err != nil || pod.Status.Phase != corev1.PodPending:
		return ctrl.Result{}, err
	}
	if trouble := world.troubleOf(&pod); trouble != nil {
		trouble.Phase = corev1.PodPending
		pod.Status = *trouble
		if err := k.client.Status().Update(ctx, &pod); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		return ctrl.Result{RequeueAfter: held}, nil
	}
	if pod.Labels[streamv1.LabelComponent] == resources.AgentComponent {
		return ctrl.Result{}, k.runAgent(ctx, world, &pod)
	}
	return ctrl.Result{}, k.start(ctx, world, &pod)
}

// ended ends the coordinator that ran in a pod.
func (k *kubelet) ended(world *cluster, pod types.NamespacedName) {
	k.mu.Lock()
	addr := k.mu.addresses[pod]
	end := k.mu.servers[pod]
	delete(k.mu.addresses, pod)
	delete(k.mu.servers, pod)
	k.mu.Unlock()
	if end != nil {
		end()
	}
	if addr != "" {
		world.storage.end(addr)
	}
}

// start makes a pod of a job run.
func (k *kubelet) start(ctx context.Context, world *cluster, pod *corev1.Pod) error {
	n, network := k.ips.Add(1), 10
	if world.served.Load() {
		network = 127
	}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: fmt.Sprintf("%d.%d.%d.%d", network, n>>16&255|1, n>>8&255, n&255),
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: pod.Spec.Containers[0].Name, Ready: true, Started: new(true)}},
	}
	if pod.Labels[streamv1.LabelComponent] == resources.CoordinatorComponent {
		config, err := configOf(ctx, pod)
		if err != nil {
			return err
		}
		grant, err := strconv.ParseInt(pod.Labels[streamv1.LabelGrant], 10, 64)
		if err != nil {
			return err
		}
		addr := fmt.Sprintf("%s:%d", pod.Status.PodIP, resources.APIPort)
		if world.served.Load() {
			end, err := serve(ctx, world, pod, addr)
			if err != nil {
				return err
			}
			k.mu.Lock()
			k.mu.servers[client.ObjectKeyFromObject(pod)] = end
			k.mu.Unlock()
		}
		k.mu.Lock()
		k.mu.addresses[client.ObjectKeyFromObject(pod)] = addr
		k.mu.Unlock()
		world.storage.begin(addr, &coordinator{
			config: *config, grant: grant, needed: slotsNeeded(config), standby: slices.Contains(pod.Spec.Containers[0].Args, "--standby"),
		})
	}
	if err := k.client.Status().Update(ctx, pod); err != nil {
		k.ended(world, client.ObjectKeyFromObject(pod))
		return client.IgnoreNotFound(err)
	}
	return k.count(ctx, world)
}

// count says to the coordinators how many slots the workers that run offer.
func (k *kubelet) count(ctx context.Context, world *cluster) error {
	k.counting.Lock()
	defer k.counting.Unlock()
	var list corev1.PodList
	if err := admin.List(ctx, &list, client.InNamespace(world.namespace)); err != nil {
		return err
	}
	type version struct{ job, grant string }
	slots := map[version]int{}
	for i := range list.Items {
		p := &list.Items[i]
		v := version{p.Labels[streamv1.LabelJob], p.Labels[streamv1.LabelGrant]}
		if p.Labels[streamv1.LabelComponent] == resources.WorkerComponent && p.Status.Phase == corev1.PodRunning {
			n, err := strconv.Atoi(argument(p, "--slots"))
			if err != nil {
				return fmt.Errorf("reading the slots of worker %s: %w", p.Name, err)
			}
			slots[v] += n
		} else {
			slots[v] += 0
		}
	}
	for v, n := range slots {
		grant, err := strconv.ParseInt(v.grant, 10, 64)
		if err != nil {
			return err
		}
		world.storage.offer(v.job, grant, n)
	}
	return nil
}

// runAgent runs an agent pod to its end.
func (k *kubelet) runAgent(ctx context.Context, world *cluster, pod *corev1.Pod) error {
	container := &pod.Spec.Containers[0]
	if pod.Labels[streamv1.LabelSnapshot] != "" {
		return k.finish(ctx, pod, world.storage.snapshotAgent(container.Args))
	}
	config, err := configOf(ctx, pod)
	if err != nil {
		return err
	}
	var operations []string
	for i, arg := range container.Args {
		if arg == "--operation" {
			operations = append(operations, container.Args[i+1])
		}
	}
	grant, err := strconv.ParseInt(argument(pod, "--grant"), 10, 64)
	if err != nil {
		return fmt.Errorf("reading the grant of agent %s: %w", pod.Name, err)
	}
	return k.finish(ctx, pod, world.storage.agent(container.Args[1], *config, grant, operations))
}

// finish ends an agent pod with a result.
func (k *kubelet) finish(ctx context.Context, pod *corev1.Pod, r contract.AgentResult) error {
	result, err := json.Marshal(r)
	if err != nil {
		return err
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{
		Name:  pod.Spec.Containers[0].Name,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(result)}},
	}}}
	return client.IgnoreNotFound(k.client.Status().Update(ctx, pod))
}

// argument returns what follows a flag among the arguments of a pod.
func argument(pod *corev1.Pod, flag string) string {
	args := pod.Spec.Containers[0].Args
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// configOf reads the configuration that a pod mounts.
func configOf(ctx context.Context, pod *corev1.Pod) (*contract.JobConfig, error) {
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap == nil {
			continue
		}
		var cm corev1.ConfigMap
		if err := admin.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: v.ConfigMap.Name}, &cm); err != nil {
			return nil, fmt.Errorf("mounting the configuration of pod %s: %w", pod.Name, err)
		}
		var config contract.JobConfig
		if err := json.Unmarshal([]byte(cm.Data[resources.JobKey]), &config); err != nil {
			return nil, fmt.Errorf("reading the configuration of pod %s: %w", pod.Name, err)
		}
		return &config, nil
	}
	return nil, fmt.Errorf("pod %s mounts no configuration", pod.Name)
}

// slotsNeeded is the largest parallelism of a job.
func slotsNeeded(config *contract.JobConfig) int {
	job := &streamv1.StreamJob{}
	job.Spec.Parallelism = int32(config.Parallelism)
	largest := jobconfig.LargestParallelism(job)
	if config.Dataflow != nil {
		for i := range config.Dataflow.Operators {
			largest = max(largest, config.Dataflow.Operators[i].Parallelism)
		}
	}
	return largest
}
