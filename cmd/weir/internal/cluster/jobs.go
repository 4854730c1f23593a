// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// lookAgain is how long a wait pauses when the API server couldn't be asked or ended a watch.
const lookAgain = time.Second

// Get returns a StreamJob.
func (c *Cluster) Get(ctx context.Context, name string) (*streamv1.StreamJob, error) {
	job := &streamv1.StreamJob{}
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, job)
	if err != nil {
		return nil, c.explain("reading the StreamJob", name, err)
	}
	return job, nil
}

// Patch sets fields of the spec of a StreamJob, those in spec and no others; a nil value removes a field. It
// returns the StreamJob as it is then.
func (c *Cluster) Patch(ctx context.Context, name string, spec map[string]any) (*streamv1.StreamJob, error) {
	return c.patch(ctx, name, map[string]any{"spec": spec})
}

// Annotate sets an annotation of a StreamJob; a nil value removes it.
func (c *Cluster) Annotate(ctx context.Context, name, key string, value any) error {
	_, err := c.patch(ctx, name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}})
	return err
}

func (c *Cluster) patch(ctx context.Context, name string, change map[string]any) (*streamv1.StreamJob, error) {
	patch, err := json.Marshal(change)
	if err != nil {
		return nil, fmt.Errorf("writing the patch: %w", err)
	}
	job := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name}}
	err = c.Client.Patch(ctx, job, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(FieldManager))
	if err != nil {
		return nil, c.explain("changing the StreamJob", name, err)
	}
	return job, nil
}

// Delete deletes a StreamJob, unless another one of its name has taken its place. One that is gone is no error.
func (c *Cluster) Delete(ctx context.Context, job *streamv1.StreamJob) error {
	err := c.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID})
	return c.explain("deleting the StreamJob", job.Name, client.IgnoreNotFound(err))
}

// Pods returns the pods of a StreamJob, of every version.
func (c *Cluster) Pods(ctx context.Context, name string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := c.Client.List(ctx, list, client.InNamespace(c.Namespace), client.MatchingLabels(resources.Selector(name)))
	if err != nil {
		return nil, c.explain("listing the pods", name, err)
	}
	return list.Items, nil
}

// Judge looks at a StreamJob and says whether the wait is over; an error ends it too. A job that is gone is nil.
type Judge func(job *streamv1.StreamJob) (done bool, err error)

// Wait shows a StreamJob to judge, now and whenever it changes, until the wait is over. A job that is being deleted is shown
// once more as it was last, before it is gone. An API server that can't be asked for a while doesn't end the
// wait, except at its start. The error is the judge's, or wraps that of ctx.
func (c *Cluster) Wait(ctx context.Context, name string, judge Judge) error {
	seen := false
	for {
		done, err := c.follow(ctx, name, &seen, judge)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for StreamJob %s: %w", name, ctx.Err())
		case <-time.After(lookAgain):
		}
	}
}

// follow reads the job and watches it until the wait is over or the watch ends.
func (c *Cluster) follow(ctx context.Context, name string, seen *bool, judge Judge) (bool, error) {
	job, err := c.Get(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return judge(nil)
	case err != nil && *seen:
		return false, nil // it is tried again, as long as ctx lasts
	case err != nil:
		return false, err
	}
	*seen = true
	if done, err := judge(job); done || err != nil {
		return done, err
	}
	w, err := c.Client.Watch(ctx, &streamv1.StreamJobList{}, client.InNamespace(c.Namespace),
		client.MatchingFields{"metadata.name": name}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: job.ResourceVersion}})
	if apierrors.IsForbidden(err) {
		return false, c.explain("watching the StreamJob", name, err)
	}
	if err != nil {
		return false, nil // it is tried again, as long as ctx lasts
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case event, open := <-w.ResultChan():
			if done, err := look(event, open, name, judge); done || err != nil || !open {
				return done, err
			}
		}
	}
}

// look shows what a watch delivered to judge.
func look(event watch.Event, open bool, name string, judge Judge) (bool, error) {
	job, ok := event.Object.(*streamv1.StreamJob)
	if !open || !ok || job.Name != name {
		return false, nil
	}
	done, err := judge(job)
	if event.Type == watch.Deleted && !done && err == nil {
		return judge(nil)
	}
	return done, err
}
