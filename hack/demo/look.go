// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

// poll calls ready until it says yes.
func poll(ctx context.Context, what string, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// await waits until the job is as wanted.
func (d *demo) await(ctx context.Context, what string, wanted func(*streamv1.StreamJob) bool) (job *streamv1.StreamJob, err error) {
	err = poll(ctx, what, func() (bool, error) {
		got, err := d.job(ctx)
		if err != nil {
			return false, err
		}
		job = got
		return wanted(job), nil
	})
	if err != nil && job != nil {
		err = fmt.Errorf("%w (%s)", err, summary(job))
	}
	return job, err
}

// isReady says whether the job runs as its spec says.
func isReady(job *streamv1.StreamJob) bool {
	c := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == job.Generation
}

// summary is what the status says in one line.
func summary(job *streamv1.StreamJob) string {
	parts := []string{string(job.Status.Phase)}
	if o := job.Status.Operation; o != nil {
		parts = append(parts, fmt.Sprintf("operation %s: %s", o.Type, o.Phase))
	}
	if c := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReady); c != nil {
		parts = append(parts, fmt.Sprintf("Ready=%s %s: %s", c.Status, c.Reason, c.Message))
	}
	return strings.Join(parts, ", ")
}

// print shows what kubectl prints.
func (d *demo) print(ctx context.Context, args ...string) error {
	sayf("$ kubectl %s --namespace %s", strings.Join(args, " "), namespace)
	out, err := d.cluster.Kubectl(ctx, append(args, "--namespace", namespace)...)
	show(out)
	return err
}

// conditionsTemplate makes kubectl print the conditions as a table.
const conditionsTemplate = `{{range .status.conditions}}{{printf "%-19s %-6s %-14s %s\n" .type .status .reason .message}}{{end}}`

// printConditions shows the conditions of the job.
func (d *demo) printConditions(ctx context.Context) error {
	sayf("$ kubectl get sj %s --namespace %s --output go-template='{{range .status.conditions}}...'", name, namespace)
	out, err := d.cluster.Kubectl(ctx, "get", "sj", name, "--namespace", namespace, "--output", "go-template="+conditionsTemplate)
	show(out)
	return err
}

// show prints text, indented.
func show(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		fmt.Fprint(os.Stdout, "         ", line)
	}
}

// follow follows the log of the worker of the deployed version.
func (d *demo) follow(ctx context.Context, job *streamv1.StreamJob) (*stage.RowTimes, error) {
	pods, err := d.access.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: fmt.Sprintf("%s=%s,%s=%d,%s=worker",
		streamv1.LabelJob, name, streamv1.LabelGrant, job.Status.Deployment.Grant, streamv1.LabelComponent)})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) == 0 {
		return nil, errors.New("the job has no worker pod")
	}
	return d.access.FollowRows(ctx, namespace, pods.Items[0].Name), nil
}
