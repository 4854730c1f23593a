// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
	"github.com/weir-stream/weir/controllers/operatorconfig"

	. "github.com/onsi/gomega"
)

const configHead = "apiVersion: config.weir.dev/v1alpha1\nkind: OperatorConfig\n"

// configured is an operator with a configuration file, which replace overwrites.
func configured(t *testing.T, text string) (option func(*operator), replace func(text string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	replace = func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(configHead+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace(text)
	live, err := operatorconfig.Open(t.Context(), path, logr.Discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *operator) { o.defaults = live }, replace
}

// TestOperator_TakesDefaultsFromItsConfiguration runs a job on the storage and the interval of its namespace, and changes them under it.
func TestOperator_TakesDefaultsFromItsConfiguration(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	option, replace := configured(t, "defaults: {storage: {s3: {bucket: for-all}}}\nnamespaces: {"+c.namespace+": {image: 'team:v1', storage: {s3: {bucket: team}}, checkpointing: {interval: 1s, retainedCount: 2}}}\n")
	o := c.operate(option)
	c.create(rulestest.Flow)
	NewWithT(t).Eventually(func() streamv1.Phase { return c.job().Status.Phase }).WithTimeout(patience).Should(Equal(streamv1.PhaseRunning))
	before := c.job()
	want := &streamv1.EffectiveReport{
		Image: "team:v1", Storage: "s3://team", Savepoints: "s3://team/savepoints", StateBackend: "Memory", CheckpointInterval: "1s", CheckpointTimeout: "10m0s",
		RetainedCheckpoints: 2, Restart: "exponentialDelay", FromOperator: []string{"checkpointing.interval", "checkpointing.retention.count", "storage"},
	}
	if diff := cmp.Diff(want, before.Status.Effective); diff != "" {
		t.Errorf("status.effective (-want +got):\n%s", diff)
	}
	if before.Spec.Storage != nil || before.Spec.Checkpointing != nil {
		t.Error("the spec of the user was edited")
	}
	d, _, _ := c.deployedObjects()
	if got := d.Spec.Template.Spec.Containers[0].Image; got != "team:v1" {
		t.Errorf("the pods run %s", got)
	}

	// Another configuration leaves alone what runs.
	replace("defaults: {storage: {s3: {bucket: moved}}, image: 'all:v2', checkpointing: {interval: 1m}}\n")
	NewWithT(t).Eventually(func() string { return o.defaults.For(c.namespace).Image }).WithTimeout(patience).Should(Equal("all:v2"))
	o.rests(t)
	after := c.job()
	if diff := cmp.Diff(before.Status.Deployment, after.Status.Deployment); diff != "" {
		t.Errorf("a changed default reached the running job:\n%s", diff)
	}
	if after.Status.Effective.Image != "team:v1" || after.Status.Effective.CheckpointInterval != "1s" {
		t.Errorf("effective: %+v", after.Status.Effective)
	}

	// Its next version takes them, but for where its state lives.
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Parallelism = 2 })
	NewWithT(t).Eventually(func() string {
		if job := c.job(); job.Status.Phase == streamv1.PhaseRunning && job.Status.Deployment.Grant > 1 {
			return job.Status.Effective.Image
		}
		return ""
	}).WithTimeout(patience).Should(Equal("all:v2"))
	if e := c.job().Status.Effective; e.Storage != "s3://team" || e.CheckpointInterval != "1m0s" {
		t.Errorf("effective after the upgrade: %+v", e)
	}
}
