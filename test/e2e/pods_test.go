// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
	"github.com/weir-stream/weir/runtime/contract"
)

// Components as the label says.
const (
	coordinator = "coordinator"
	worker      = "worker"
)

// podsIn lists pods of the namespace, oldest first.
func (s *scenario) podsIn(labels client.MatchingLabels) []corev1.Pod {
	s.Helper()
	list := &corev1.PodList{}
	if err := suite.client.List(s.Context(), list, client.InNamespace(s.ns), labels); err != nil {
		s.Fatalf("listing pods: %v", err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return list.Items
}

// pods of a component of a job's grant that aren't being deleted.
func (s *scenario) pods(job *streamv1.StreamJob, component string) []corev1.Pod {
	s.Helper()
	all := s.podsIn(client.MatchingLabels{
		streamv1.LabelJob: job.Name, streamv1.LabelGrant: fmt.Sprint(job.Status.Deployment.Grant), streamv1.LabelComponent: component,
	})
	return slices.DeleteFunc(all, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// pod is the only, or first, pod of a component.
func (s *scenario) pod(job *streamv1.StreamJob, component string) *corev1.Pod {
	s.Helper()
	pods := s.pods(job, component)
	if len(pods) == 0 {
		s.Fatalf("job %s has no %s pod\n%s", job.Name, component, describe(job))
	}
	return &pods[0]
}

// gone waits until a job has no pods.
func (s *scenario) gone(job string) {
	s.Helper()
	s.eventually("no pods of job "+job, func() string {
		if pods := s.podsIn(client.MatchingLabels{streamv1.LabelJob: job}); len(pods) > 0 {
			return fmt.Sprintf("%d are there, such as %s (%s)", len(pods), pods[0].Name, pods[0].Status.Phase)
		}
		return ""
	})
}

// signal sends a signal to the process of a pod. A job may run before its node has told of the process.
func (s *scenario) signal(pod *corev1.Pod, sig stage.Signal) {
	s.Helper()
	pod = pod.DeepCopy()
	s.eventually("the process of pod "+pod.Name, func() string {
		if all := pod.Status.ContainerStatuses; len(all) > 0 && all[0].ContainerID != "" {
			return ""
		}
		if err := suite.client.Get(s.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("it is %s", pod.Status.Phase)
	})
	if err := suite.access.SignalContainer(s.Context(), pod, "", sig); err != nil {
		s.Fatal(err)
	}
}

// operatorPods lists those of the operator that aren't being deleted.
func (s *scenario) operatorPods() []corev1.Pod {
	s.Helper()
	list := &corev1.PodList{}
	err := suite.client.List(s.Context(), list, client.InNamespace(stage.OperatorNamespace))
	if err != nil {
		s.Fatalf("listing the operator's pods: %v", err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// killOperator deletes the pods of the operator, at once or gently.
func (s *scenario) killOperator(gently bool) {
	s.Helper()
	for _, p := range s.operatorPods() {
		var opts []client.DeleteOption
		if !gently {
			opts = append(opts, client.GracePeriodSeconds(0))
		}
		if err := suite.client.Delete(s.Context(), &p, opts...); client.IgnoreNotFound(err) != nil {
			s.Fatalf("deleting the operator's pod: %v", err)
		}
	}
}

// dump writes what a person needs to find out what went wrong: objects, events and logs, to the artifacts of the test, and the
// status of the jobs to its output.
func (s *scenario) dump(ctx context.Context) {
	dir := s.ArtifactDir()
	jobs := &streamv1.StreamJobList{}
	if err := suite.client.List(ctx, jobs, client.InNamespace(s.ns)); err == nil {
		for i := range jobs.Items {
			s.Logf("job %s: %s", jobs.Items[i].Name, describe(&jobs.Items[i]))
			s.saveReports(ctx, dir, &jobs.Items[i])
		}
		s.save(dir, "jobs.yaml", jobs)
	}
	pods := &corev1.PodList{}
	if err := suite.client.List(ctx, pods, client.InNamespace(s.ns)); err == nil {
		s.save(dir, "pods.yaml", pods)
	}
	operator := &corev1.PodList{}
	if err := suite.client.List(ctx, operator, client.InNamespace(stage.OperatorNamespace)); err == nil {
		pods.Items = append(pods.Items, operator.Items...)
	}
	for i := range pods.Items {
		s.saveLogs(ctx, dir, &pods.Items[i])
	}
	events, err := suite.cluster.Kubectl(ctx, "events", "--namespace", s.ns)
	if err == nil {
		_ = os.WriteFile(filepath.Join(dir, "events.txt"), []byte(events), 0o600)
	}
	s.Logf("objects, events and logs are in %s (go test -artifacts keeps them)\n%s", dir, events)
}

// saveReports saves what the coordinators of a job say themselves.
func (s *scenario) saveReports(ctx context.Context, dir string, job *streamv1.StreamJob) {
	pods := &corev1.PodList{}
	err := suite.client.List(ctx, pods, client.InNamespace(s.ns), client.MatchingLabels{streamv1.LabelJob: job.Name, streamv1.LabelComponent: coordinator})
	for i := range pods.Items {
		var api *contract.Client
		if api, err = s.dialAPI(ctx, job.Name, &pods.Items[i]); err != nil {
			break
		}
		if report, err := api.Job(ctx); err == nil {
			s.save(dir, pods.Items[i].Name+"-job.yaml", report)
		}
		if report, err := api.Checkpoints(ctx); err == nil {
			s.save(dir, pods.Items[i].Name+"-checkpoints.yaml", report)
		}
		api.Close()
	}
	if err != nil {
		s.Logf("asking the coordinators of %s: %v", job.Name, err)
	}
}

func (s *scenario) save(dir, name string, o any) {
	b, err := yaml.Marshal(o)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
	}
	if err != nil {
		s.Logf("saving %s: %v", name, err)
	}
}

func (s *scenario) saveLogs(ctx context.Context, dir string, pod *corev1.Pod) {
	for _, previous := range []bool{true, false} {
		r, err := suite.access.Client().CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Previous: previous}).Stream(ctx)
		if err != nil {
			continue // it never ran, or not before
		}
		b, _ := io.ReadAll(r)
		_ = r.Close()
		name := pod.Name + ".log"
		if previous {
			name = pod.Name + "-previous.log"
		}
		_ = os.WriteFile(filepath.Join(dir, name), b, 0o600)
	}
}
