// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/runtime/contract"
)

// Ports of the pods of a job.
const (
	// ControlPort is where the coordinator serves its workers.
	ControlPort = 6123
	// APIPort is where the coordinator serves the control API.
	APIPort = 8081
	// DataPort is where a worker serves other workers.
	DataPort = 6124
	// HealthPort is where probes and metrics are served, without TLS.
	HealthPort = 8082
)

// Names of the ports.
const (
	controlPortName = "control"
	apiPortName     = "api"
	dataPortName    = "data"
	healthPortName  = "health"
)

const (
	// drainTimeoutFlag is the flag of a worker with how long it may drain; drainReserve is what is left of a grace period then, in seconds, to end.
	drainTimeoutFlag = "--drain-timeout"
	drainReserve     = 5
)

// Set is the objects of a grant besides its config map.
type Set struct {
	// Service is what workers find the coordinator by, before it is ready.
	Service *corev1ac.ServiceApplyConfiguration
	// Disruption lets one pod of the grant at a time be evicted, so that a node that is drained takes no more than that.
	Disruption *policyv1ac.PodDisruptionBudgetApplyConfiguration
	// Coordinator is a Deployment of one pod that never waits for its predecessor: storage shuts that out.
	Coordinator *appsv1ac.DeploymentApplyConfiguration
	// Workers is a StatefulSet that starts and ends its pods all at once.
	Workers *appsv1ac.StatefulSetApplyConfiguration
}

// version is what the objects of a grant are built from.
type version struct {
	job   *streamv1.StreamJob
	grant int64
	r     Revision
}

func (v version) name(suffix string) string { return Name(v.job.Name, v.grant, suffix) }

func (v version) labels(component string) map[string]string {
	return Labels(v.job.Name, v.grant, component)
}

func (v version) selector(component string) *metav1ac.LabelSelectorApplyConfiguration {
	return metav1ac.LabelSelector().WithMatchLabels(v.labels(component))
}

// Children returns the objects of a grant besides its config map. An error says that the stored revision lacks what no
// StreamJob lacks that was checked.
func Children(job *streamv1.StreamJob, grant int64, r Revision) (*Set, error) {
	if err := runnable(r); err != nil {
		return nil, fmt.Errorf("building the objects of grant %d of StreamJob %s: %w", grant, job.Name, err)
	}
	v := version{job: job, grant: grant, r: r}
	coordinator, err := v.coordinator()
	if err != nil {
		return nil, fmt.Errorf("building the objects of grant %d of StreamJob %s: %w", grant, job.Name, err)
	}
	workers, err := v.workers()
	if err != nil {
		return nil, fmt.Errorf("building the objects of grant %d of StreamJob %s: %w", grant, job.Name, err)
	}
	return &Set{Service: v.service(), Disruption: v.disruption(), Coordinator: coordinator, Workers: workers}, nil
}

// runnable checks what pods cannot do without.
func runnable(r Revision) error {
	if r.Image == "" {
		return errors.New("the revision names no image: start the operator with --engine-image")
	}
	if s := r.Spec.Storage; s != nil && s.Volume != nil && s.Volume.ClaimName == "" {
		return errors.New(claimMissing)
	}
	return nil
}

func (v version) service() *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(v.name(""), v.job.Namespace).
		WithLabels(v.labels(CoordinatorComponent)).
		WithOwnerReferences(Owner(v.job)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithPublishNotReadyAddresses(true).
			WithSelector(v.labels(CoordinatorComponent)).
			WithPorts(servicePort(controlPortName, ControlPort), servicePort(apiPortName, APIPort)))
}

// disruption lets one pod at a time be evicted, of coordinator and workers together: each of them takes the job down for a moment. A
// pod that is not ready does not hold up a drain.
func (v version) disruption() *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(v.name(""), v.job.Namespace).
		WithLabels(v.labels("")).
		WithOwnerReferences(Owner(v.job)).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(metav1ac.LabelSelector().
				WithMatchLabels(v.labels("")).
				WithMatchExpressions(metav1ac.LabelSelectorRequirement().
					WithKey(streamv1.LabelComponent).
					WithOperator(metav1.LabelSelectorOpIn).
					WithValues(CoordinatorComponent, WorkerComponent))))
}

func servicePort(name string, port int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().WithName(name).WithProtocol(corev1.ProtocolTCP).
		WithPort(port).WithTargetPort(intstr.FromString(name))
}

func containerPort(name string, port int32) *corev1ac.ContainerPortApplyConfiguration {
	return corev1ac.ContainerPort().WithName(name).WithProtocol(corev1.ProtocolTCP).WithContainerPort(port)
}

func address(port int) string { return ":" + strconv.Itoa(port) }

func (v version) coordinator() (*appsv1ac.DeploymentApplyConfiguration, error) {
	container := corev1ac.Container().WithName(CoordinatorComponent).WithArgs("coordinator", "--supervise")
	if v.r.Standby {
		container.WithArgs("--standby")
	}
	container.
		WithArgs(
			"--job", jobFile,
			"--grant", strconv.FormatInt(v.grant, 10),
			"--listen", address(ControlPort),
			"--api", address(APIPort),
			"--health", address(HealthPort),
			"--tls", tlsDirectory,
			"--termination-log", terminationLog).
		WithPorts(containerPort(controlPortName, ControlPort), containerPort(apiPortName, APIPort), containerPort(healthPortName, HealthPort))
	if t := v.r.Spec.Tracing; t != nil {
		container.WithEnv(corev1ac.EnvVar().WithName(contract.VariableEndpoint).WithValue(t.Endpoint))
	}
	template := coordinatorTemplate(&v.r.Spec)
	pod := v.serving(CoordinatorComponent, container, coordinatorResources(&v.r.Spec))
	withJob(pod, v.name(""))
	if err := (merge{template: template, component: CoordinatorComponent, spread: v.labels(CoordinatorComponent)}).into(pod); err != nil {
		return nil, err
	}
	return appsv1ac.Deployment(v.name(CoordinatorComponent), v.job.Namespace).
		WithLabels(v.labels(CoordinatorComponent)).
		WithOwnerReferences(Owner(v.job)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(1).
			WithRevisionHistoryLimit(0).
			WithStrategy(appsv1ac.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)).
			WithSelector(v.selector(CoordinatorComponent)).
			WithTemplate(podTemplate(template, v.labels(CoordinatorComponent), pod))), nil
}

func (v version) workers() (*appsv1ac.StatefulSetApplyConfiguration, error) {
	replicas, slots := jobconfig.Workers(&streamv1.StreamJob{Spec: v.r.Spec})
	coordinator := fmt.Sprintf("%s.%s.svc:%d", v.name(""), v.job.Namespace, ControlPort)
	container := corev1ac.Container().
		WithName(WorkerComponent).
		WithArgs("worker",
			"--coordinator", coordinator,
			"--listen", address(DataPort),
			"--advertise", "$(POD_IP)",
			"--name-prefix", "$(POD_NAME)",
			"--slots", strconv.Itoa(slots),
			"--health", address(HealthPort),
			"--tls", tlsDirectory,
			"--termination-log", terminationLog).
		WithEnv(fromField(podIPVariable, "status.podIP"), fromField(podNameVariable, "metadata.name")).
		WithPorts(containerPort(dataPortName, DataPort), containerPort(healthPortName, HealthPort))
	pod := v.serving(WorkerComponent, container, workerResources(&v.r.Spec))
	if b := v.r.Spec.StateBackend; b != nil && b.LocalRecovery {
		withLocalCopies(pod)
	}
	if d := drainTimeout(&v.r.Spec); d != 0 && v.r.Form >= FormDrain {
		pod.Containers[0].WithArgs(drainTimeoutFlag, d.String())
	}
	template := workerTemplate(&v.r.Spec)
	if err := (merge{template: template, component: WorkerComponent, spread: v.labels(WorkerComponent)}).into(pod); err != nil {
		return nil, err
	}
	return appsv1ac.StatefulSet(v.name(WorkerComponent), v.job.Namespace).
		WithLabels(v.labels(WorkerComponent)).
		WithOwnerReferences(Owner(v.job)).
		WithSpec(appsv1ac.StatefulSetSpec().
			WithServiceName(v.name("")).
			WithReplicas(int32(replicas)).
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithSelector(v.selector(WorkerComponent)).
			WithTemplate(podTemplate(template, v.labels(WorkerComponent), pod))), nil
}

// drainTimeout is how long a worker may wait for a checkpoint when it is told to end, so that it has ended before it is killed; 0: the template of workers
// says nothing about it, and the default of the engine fits that of the pods.
func drainTimeout(spec *streamv1.StreamJobSpec) time.Duration {
	t := workerTemplate(spec)
	if t == nil || t.TerminationGracePeriodSeconds == 0 {
		return 0
	}
	return time.Duration(max(t.TerminationGracePeriodSeconds-drainReserve, 1)) * time.Second
}

// serving returns the pod of a component that serves until it is ended.
func (v version) serving(component string, container *corev1ac.ContainerApplyConfiguration, r *streamv1.Resources) *corev1ac.PodSpecApplyConfiguration {
	if requirements := resourcesOf(r); requirements != nil {
		container.WithResources(requirements)
	}
	container.
		WithStartupProbe(probe(contract.PathHealth).WithPeriodSeconds(1).WithTimeoutSeconds(5).WithFailureThreshold(120)).
		WithReadinessProbe(probe(contract.PathReady).WithPeriodSeconds(v.readyPeriod()).WithTimeoutSeconds(3).WithFailureThreshold(3)).
		WithLivenessProbe(probe(contract.PathHealth).WithPeriodSeconds(5).WithTimeoutSeconds(15).WithFailureThreshold(3))
	pod := podSpec(v.r, container)
	if v.r.Form >= FormFlush {
		pod.WithTerminationGracePeriodSeconds(flushSeconds)
	}
	withTLS(pod, v.job.Name, component)
	return pod
}

// readyPeriod is how many seconds pass from one question whether a pod is ready to the next. Nothing of the job waits for the answer: the operator asks the
// coordinator, and the services name pods that aren't ready too.
func (v version) readyPeriod() int32 {
	if v.r.Form >= FormCalm {
		return readySeconds
	}
	return 1
}

func probe(path string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(healthPortName)))
}
