// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

// TestStorageFaults_NothingIsLostOrStuck has the object store fail during a savepoint, an upgrade, a restore and a deletion, in each of the ways in
// which object stores fail. Each step must say what is wrong, and be done once the store works again.
func TestStorageFaults_NothingIsLostOrStuck(t *testing.T) {
	t.Parallel()
	// named says whether a condition must name the fault: a store that is only slow isn't one.
	tests := map[string]struct{ named bool }{"down": {true}, "denied": {true}, "full": {true}, "slow": {false}}
	for mode, tc := range tests {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := &faultyStore{scenario: newScenario(t, "s3-"+mode), mode: mode, named: tc.named}
			f.run()
		})
	}
}

// storageReasons are those of conditions that name a fault of the object store: a sink that can't commit restarts the tasks.
var storageReasons = []string{
	streamv1.ReasonStorageUnavailable, streamv1.ReasonStorageAccessDenied, streamv1.ReasonSavepointFailed,
	streamv1.ReasonCheckpointDeclined, streamv1.ReasonCheckpointExpired, streamv1.ReasonCheckpointNotWritten, streamv1.ReasonRestarting,
}

// faultyStore is a scenario whose object store fails on demand.
type faultyStore struct {
	*scenario
	mode  string
	named bool
	http  *http.Client
	url   string
}

func (f *faultyStore) run() {
	f.Helper()
	pod := f.before("faulty", toolSpec("s3fault", ":9000", stage.S3Addr))
	f.url = "http://" + pod.Status.PodIP + ":9000/_mode?set="
	transport := &http.Transport{DialContext: suite.access.Dial}
	f.Cleanup(transport.CloseIdleConnections)
	f.http = &http.Client{Transport: transport, Timeout: 10 * time.Second}

	job := f.ledger("ledger")
	job.Spec.Storage.S3.Endpoint = "http://faulty." + f.ns + ".svc:9000"
	job.Spec.Upgrade.SavepointTimeout = seconds(6)
	job.Spec.Checkpointing.Timeout = seconds(6)
	job.Spec.Checkpointing.Retention.OnCancel = streamv1.DeleteOnCancel
	f.start(job)
	f.duringSavepoint(job.Name)
	f.duringUpgrade(job.Name)
	f.duringRestore(job.Name)
	f.finish(job.Name)
	f.resume(job.Name)
	f.progress(f.job(job.Name))
	f.duringDeletion(job.Name)
}

// set has the store work as a mode says.
func (f *faultyStore) set(mode string) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), http.MethodPost, f.url+mode, http.NoBody)
	if err != nil {
		f.Fatal(err)
	}
	res, err := f.http.Do(req)
	if err != nil {
		f.Fatalf("setting the store to %s: %v", mode, err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		f.Fatalf("setting the store to %s: %s", mode, res.Status)
	}
}

// says waits until a condition that isn't as it should be names the fault, unless the store is only slow.
func (f *faultyStore) says(name, during string, conditions ...string) {
	f.Helper()
	if !f.named {
		return
	}
	f.await(name, "a condition that names the fault of the store during "+during, func(job *streamv1.StreamJob) string {
		missing := ""
		for _, c := range conditions {
			missing = is(job, c, metav1.ConditionFalse, storageReasons...)
			if missing == "" && !strings.Contains(message(job, c), "s3://") {
				missing = c + " does not name the store: " + message(job, c)
			}
			if missing == "" {
				f.Logf("%s during %s: %s: %s", f.mode, during, c, message(job, c))
				return ""
			}
		}
		return missing
	})
}

func (f *faultyStore) duringSavepoint(name string) {
	f.Helper()
	f.set(f.mode)
	f.patch(name, `{"spec":{"savepoint":{"trigger":"first"}}}`)
	f.says(name, "the savepoint", streamv1.ConditionCheckpointsHealthy, streamv1.ConditionReady)
	f.set("ok")
	f.await(name, "the savepoint", func(job *streamv1.StreamJob) string {
		if job.Status.SavepointTrigger != "first" {
			return fmt.Sprintf("the savepoint isn't taken: %+v", job.Status.Operation)
		}
		return running(job.Generation)(job)
	})
	if got := f.savepoints(); len(got) != 1 {
		f.Errorf("there are %d savepoints, want one: %v", len(got), got)
	}
}

func (f *faultyStore) duringUpgrade(name string) {
	f.Helper()
	old := f.job(name).Status.Deployment.Grant
	f.set(f.mode)
	generation := f.patch(name, `{"spec":{"parallelism":3}}`)
	f.says(name, "the upgrade", streamv1.ConditionReady)
	if job := f.job(name); f.named && job.Status.Deployment.Grant != old {
		f.Errorf("the old version is gone though the store doesn't work\n%s", describe(job))
	}
	f.set("ok")
	f.awaitWithin(2*stepTimeout, name, "the upgrade", upgraded(generation, 3))
}

func (f *faultyStore) duringRestore(name string) {
	f.Helper()
	f.suspend(name)
	f.set(f.mode)
	generation := f.patch(name, `{"spec":{"state":"Running"}}`)
	f.says(name, "the restore", streamv1.ConditionReady)
	f.set("ok")
	job := f.awaitWithin(2*stepTimeout, name, "the resumed job", running(generation))
	f.progress(job)
}

// duringDeletion deletes the job while its checkpoints can't be deleted.
func (f *faultyStore) duringDeletion(name string) {
	f.Helper()
	f.set(f.mode)
	if err := suite.client.Delete(f.Context(), f.job(name)); err != nil {
		f.Fatal(err)
	}
	f.while(5*time.Second, "the deletion with a store that doesn't work", func() string {
		if job := f.job(name); job == nil && f.mode == "denied" {
			return "the job is gone, and its checkpoints can't have been deleted"
		}
		return ""
	})
	f.set("ok")
	if !f.until(4*stepTimeout, func() bool { return f.job(name) == nil }) {
		f.Fatalf("the job isn't deleted\n%s", describe(f.job(name)))
	}
	f.gone(name)
	if l := f.left(); l.checkpoints != 0 {
		f.Errorf("%d checkpoints are left", l.checkpoints)
	}
}
