// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestDescribeUpgrade_NamesTheTimeOfItsPods(t *testing.T) {
	u := &streamv1.UpgradeReport{FromRevision: "a", ToRevision: "b", CheckMillis: 1200, WarmMillis: 2600, SaveMillis: 340, PodsMillis: 1, RestoreMillis: 450}
	u.StartedAt, u.CompletedAt = metav1.NewMicroTime(noon.Add(-9*time.Second)), metav1.NewMicroTime(noon.Add(-4*time.Second))
	if got, want := describeUpgrade(noon, u), "a to b, 4.0s ago, took 5.0s: check 1.2s, warm 2.6s, save 340ms, pods 1ms, restore 450ms"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	u.WarmMillis = 0
	if got, want := describeUpgrade(noon, u), "a to b, 4.0s ago, took 5.0s: check 1.2s, save 340ms, pods 1ms, restore 450ms"; got != want {
		t.Errorf("without surge: got  %s\nwant %s", got, want)
	}
	u = &streamv1.UpgradeReport{FromRevision: "a", ToRevision: "b", SaveMillis: 340, PodsMillis: 1}
	if got, want := describeUpgrade(noon, u), "a to b: check 0s, save 340ms, pods 1ms, restore 0s; the new version has not run"; got != want {
		t.Errorf("of a version that did not run: got  %s\nwant %s", got, want)
	}
}

func TestPrintJob_StabilityWithoutCheckpoints(t *testing.T) {
	job := &streamv1.StreamJob{}
	job.Status.Deployment = &streamv1.DeploymentReport{Grant: 1}
	job.Status.Stability = &streamv1.StabilityReport{Grant: 1, Since: metav1.NewTime(noon.Add(-20 * time.Second)), Restarts: 2}
	var b bytes.Buffer
	if err := printJob(&b, noon, job, nil); err != nil {
		t.Fatal(err)
	}
	if want := "stable once it has run for a minute without a restart; it runs since 20.0s ago, 2 restarts since it was deployed"; !strings.Contains(b.String(), want) {
		t.Errorf("got\n%s\nwant in it %q", b.String(), want)
	}
}

func TestDescribeRestore_SaysWhatIsProcessedAgain(t *testing.T) {
	r := &streamv1.RestoreReport{
		RequestedMode: "LastCheckpoint", EffectiveMode: "LastCheckpoint", Path: "s3://b/c", CheckpointID: 7,
		TakenAt: metav1.NewTime(noon.Add(-time.Minute)), EstimatedReplayMillis: new(int64(2500)),
	}
	if got, want := describeRestore(noon, r), "LastCheckpoint, snapshot 7 taken 1m0s ago (at most 2.5s of processing done again), s3://b/c"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.EstimatedReplayMillis = new(int64(0))
	if got, want := describeRestore(noon, r), "LastCheckpoint, snapshot 7 taken 1m0s ago, s3://b/c"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
