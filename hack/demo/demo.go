// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/demo/words"
	"github.com/weir-stream/weir/hack/e2e/stage"
	"github.com/weir-stream/weir/runtime/storage"

	_ "embed"
)

const (
	// namespace of the job, with the restricted pod security standard; name of the job.
	namespace = "weir-demo"
	name      = "wordcount"
	// stepTimeout bounds every wait.
	stepTimeout = 3 * time.Minute
	// uploadTime is how long each half of the text takes to arrive.
	uploadTime = 12 * time.Second
	// before and after are the parallelisms.
	before, after = 2, 3
)

//go:embed job.yaml
var jobManifest []byte

// namespaceManifest is the namespace of the job and the secret with the credentials of the S3 server.
const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: ` + namespace + `
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
apiVersion: v1
kind: Secret
metadata:
  name: s3
  namespace: ` + namespace + `
stringData:
  AWS_ACCESS_KEY_ID: ` + stage.AccessKey + `
  AWS_SECRET_ACCESS_KEY: ` + stage.SecretKey + `
`

// demo is the demonstration in progress.
type demo struct {
	cluster *stage.Cluster
	access  *stage.Access
	// dir has the text, in two halves.
	dir           string
	first, second words.Half
	// pulse are the times of the rows of the deployed version, downtime how long none came during the upgrade.
	pulse    *stage.RowTimes
	downtime time.Duration
}

// prepare brings everything to the cluster that the job needs.
func (d *demo) prepare(ctx context.Context) (err error) {
	images := stage.Images()[:2] // the operator with its engine, and the S3 server
	c := d.cluster
	for _, step := range []func(context.Context) error{
		c.Up,
		func(ctx context.Context) error { return c.Build(ctx, images) },
		func(ctx context.Context) error { return c.Load(ctx, images) },
		c.InstallOperator,
		d.removeOld,
		c.InstallS3,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if d.access, err = c.Access(ctx); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "weir-demo-"); err != nil {
		return err
	}
	d.first, d.second, err = words.Gather(ctx, d.dir)
	return err
}

// removeOld removes what an earlier demonstration left on this cluster.
func (d *demo) removeOld(ctx context.Context) error {
	if _, err := d.cluster.Kubectl(ctx, "delete", "namespace", namespace, "--ignore-not-found"); err != nil {
		return err
	}
	_, err := d.cluster.Kubectl(ctx, "delete", "deployment/s3", "--namespace", stage.Namespace, "--ignore-not-found", "--wait")
	return err
}

// close removes what is left on this machine.
func (d *demo) close() {
	d.access.Close()
	_ = os.RemoveAll(d.dir)
}

// show is the demonstration proper.
func (d *demo) show(ctx context.Context) error {
	if err := d.startJob(ctx); err != nil {
		return err
	}
	sayf("The first half of the text arrives in s3://weir/text: %s", &d.first)
	if err := d.upload(ctx, &d.first); err != nil {
		return err
	}
	job, err := d.await(ctx, "checkpoints", func(job *streamv1.StreamJob) bool { return job.Status.LastCheckpoint != nil })
	if err != nil {
		return err
	}
	sayf("Checkpoints complete; the status is updated every half minute and has number %d: %s", job.Status.LastCheckpoint.ID, job.Status.LastCheckpoint.Path)
	for _, what := range []string{"sj", "pods"} {
		if err := d.print(ctx, "get", what); err != nil {
			return err
		}
	}
	uploads, uploadCtx := errgroup.WithContext(ctx)
	sayf("The second half of the text arrives: %s", &d.second)
	uploads.Go(func() error { return d.upload(uploadCtx, &d.second) })
	err = d.upgrade(ctx)
	if uploadErr := uploads.Wait(); err == nil {
		err = uploadErr
	}
	if err != nil {
		return err
	}
	return d.conclude(ctx)
}

// startJob applies the job and waits until it runs.
func (d *demo) startJob(ctx context.Context) error {
	if _, err := d.cluster.KubectlWith(ctx, []byte(namespaceManifest), "apply", "--filename", "-"); err != nil {
		return err
	}
	sayf("$ kubectl apply --namespace %s --filename hack/demo/job.yaml", namespace)
	applied := time.Now()
	out, err := d.cluster.KubectlWith(ctx, jobManifest, "apply", "--namespace", namespace, "--filename", "-")
	if err != nil {
		return err
	}
	show(out)
	job, err := d.await(ctx, "a running job", isReady)
	if err != nil {
		return err
	}
	if d.pulse, err = d.follow(ctx, job); err != nil {
		return err
	}
	select {
	case <-d.pulse.Began():
	case <-time.After(stepTimeout):
		return errors.New("waiting for the first record: there was none")
	}
	sayf("The job runs: the first record was processed %.1f s after kubectl apply", d.pulse.First().Sub(applied).Seconds())
	return nil
}

// upgrade edits the job while it runs, and shows what becomes of that.
func (d *demo) upgrade(ctx context.Context) error {
	patch := fmt.Sprintf(`{"spec":{"parallelism":%d}}`, after)
	sayf("$ kubectl patch sj %s --type merge --patch '%s'", name, patch)
	if _, err := d.cluster.Kubectl(ctx, "patch", "sj", name, "--namespace", namespace, "--type", "merge", "--patch", patch); err != nil {
		return err
	}
	shown, seen := "", false
	var next *stage.RowTimes
	job, err := d.await(ctx, "the new version", func(job *streamv1.StreamJob) bool {
		if now := summary(job); now != shown {
			shown = now
			sayf("  %s", now)
		}
		if o := job.Status.Operation; !seen && o != nil && o.Phase == streamv1.OperationStarting {
			seen = true
			_ = d.print(ctx, "get", "sj") // the look after it counts
		}
		if next == nil && job.Status.Deployment != nil && job.Status.Deployment.Generation == job.Generation {
			next, _ = d.follow(ctx, job) // its pod may not be there yet: the next look finds it
		}
		return next != nil && isReady(job) && job.Status.Parallelism == after
	})
	if err != nil {
		return err
	}
	return d.report(ctx, job, next)
}

// report shows how the upgrade went.
func (d *demo) report(ctx context.Context, job *streamv1.StreamJob, next *stage.RowTimes) error {
	for _, wait := range []<-chan struct{}{next.Began(), d.pulse.Ended()} {
		select {
		case <-wait:
		case <-time.After(stepTimeout):
			return errors.New("waiting for the records of both versions in their logs: they didn't come")
		}
	}
	d.downtime = next.First().Sub(d.pulse.Last())
	if err := d.printConditions(ctx); err != nil {
		return err
	}
	if up := job.Status.LastUpgrade; up != nil {
		sayf("Savepoint of the upgrade: %s", up.Path)
		sayf("Phases: check %d ms (the old version runs), save %d ms, pods %d ms, restore %d ms",
			up.CheckMillis, up.SaveMillis, up.PodsMillis, up.RestoreMillis)
	}
	sayf("Downtime of the upgrade, from the last record of the old version to the first of the new: %.2f s", d.downtime.Seconds())
	return nil
}

// conclude waits until everything is counted, and compares.
func (d *demo) conclude(ctx context.Context) error {
	want, err := words.ByShell(ctx, d.dir)
	if err != nil {
		return err
	}
	sayf("tr | sort | uniq -c find %d words, %d different ones", want.Total(), len(want))
	store, err := d.access.Store(ctx, "counts")
	if err != nil {
		return err
	}
	defer store.Close()
	out := words.NewOutput(store)
	if err := d.settle(ctx, out, want.Total()); err != nil {
		return err
	}
	if err := d.print(ctx, "get", "sj"); err != nil {
		return err
	}
	sayf("The cluster is left up. Have a look:")
	d.hint()
	differences := out.Compare(want)
	for _, difference := range differences {
		sayf("%s", difference)
	}
	if len(differences) > 0 {
		return errDifferent
	}
	fmt.Fprintf(os.Stdout, "EQUAL: all %d counts are those of tr | sort | uniq -c, across an upgrade from parallelism %d to %d, each committed once\n",
		len(want), before, after)
	return nil
}

// settle reads the output until it accounts for all words, and once more after the next checkpoint: nothing may come then.
func (d *demo) settle(ctx context.Context, out *words.Output, total int64) error {
	err := poll(ctx, "all words to be counted", func() (bool, error) {
		err := out.Read(ctx)
		return out.Counts.Total() >= total, err
	})
	if err != nil {
		return fmt.Errorf("%w: %d of %d words are in the output", err, out.Counts.Total(), total)
	}
	sayf("All words are counted; suspending the job makes sure that nothing else comes")
	if _, err := d.cluster.Kubectl(ctx, "patch", "sj", name, "--namespace", namespace, "--type", "merge", "--patch", `{"spec":{"state":"Suspended"}}`); err != nil {
		return err
	}
	job, err := d.await(ctx, "the suspension", func(job *streamv1.StreamJob) bool { return job.Status.Phase == streamv1.PhaseSuspended })
	if err != nil {
		return err
	}
	if s := job.Status.LastSavepoint; s != nil {
		sayf("Suspended with savepoint %s", s.Path)
	}
	return out.Read(ctx)
}

// hint says how to look at what is left.
func (d *demo) hint() {
	env := ""
	if d.cluster.Kind == stage.Local {
		env = "export KUBECONFIG=$PWD/bin/kubeconfig PATH=$PWD/bin/k8s:$PATH"
	}
	show(strings.TrimSpace(env + `
kubectl get sj --namespace ` + namespace + `
kubectl describe sj ` + name + ` --namespace ` + namespace + `
kubectl patch sj ` + name + ` --namespace ` + namespace + ` --type merge --patch '{"spec":{"state":"Running"}}'
make demo-down   # removes all of it`))
}

// upload puts a half of the text into the bucket.
func (d *demo) upload(ctx context.Context, h *words.Half) error {
	var store storage.Store
	store, err := d.access.Store(ctx, "text")
	if err != nil {
		return err
	}
	defer store.Close()
	return h.Upload(ctx, store, uploadTime)
}

// job reads the job.
func (d *demo) job(ctx context.Context) (*streamv1.StreamJob, error) {
	out, err := d.cluster.Kubectl(ctx, "get", "sj", name, "--namespace", namespace, "--output", "json")
	if err != nil {
		return nil, err
	}
	job := &streamv1.StreamJob{}
	if err := json.Unmarshal([]byte(out), job); err != nil {
		return nil, fmt.Errorf("reading the job: %w", err)
	}
	return job, nil
}
