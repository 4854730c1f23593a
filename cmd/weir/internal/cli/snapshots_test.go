// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/cmd/weir/internal/cluster"
)

func TestSnapshots_ListsThoseOfAJob(t *testing.T) {
	snap := func(name string, age time.Duration, change func(*streamv1.StreamSnapshot)) *streamv1.StreamSnapshot {
		s := &streamv1.StreamSnapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(noon.Add(-age))}}
		change(s)
		return s
	}
	objects := []client.Object{
		snap("before", time.Hour, func(s *streamv1.StreamSnapshot) {
			s.Spec.JobRef = &streamv1.JobReference{Name: "page-views"}
			s.Status = streamv1.StreamSnapshotStatus{
				State: streamv1.SnapshotCompleted, Kind: "Savepoint", SizeBytes: 3 << 20, DurationMillis: 1500,
				CompletedAt: metav1.NewTime(noon.Add(-30 * time.Minute)), Path: "s3://bkt/savepoints/one/",
			}
		}),
		snap("page-views-20260301-1100", time.Minute, func(s *streamv1.StreamSnapshot) {
			s.Labels = map[string]string{streamv1.LabelJob: "page-views"}
			s.Spec.ReclaimPolicy = streamv1.ReclaimDelete
			s.Status = streamv1.StreamSnapshotStatus{State: streamv1.SnapshotPending, Message: "Waiting for\nthe job"}
		}),
		snap("other", 0, func(s *streamv1.StreamSnapshot) { s.Spec.JobRef = &streamv1.JobReference{Name: "orders"} }),
	}
	c := fake.NewClientBuilder().WithScheme(cluster.Scheme()).WithObjects(objects...).Build()
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		a := &App{
			Out: &out, Err: &errs, Now: func() time.Time { return noon }, Version: "v0",
			Open: func(cluster.Options) (*cluster.Cluster, error) {
				return &cluster.Cluster{Client: c, Namespace: "default"}, nil
			},
		}
		code := a.Run(t.Context(), append([]string{"snapshots"}, args...))
		return code, out.String() + errs.String()
	}
	code, out := run("page-views")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != 3 || !strings.HasPrefix(lines[1], "page-views-20260301-1100") || !strings.Contains(lines[1], "Delete") ||
		!strings.Contains(lines[1], "Waiting for the job") {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	for _, want := range []string{"before", "Savepoint", "Completed", "3.0 MiB", "1.5s", "30m0s ago", "Retain", "s3://bkt/savepoints/one/"} {
		if !strings.Contains(lines[2], want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	if code, out := run(); code != 0 || !strings.Contains(out, "other") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if code, out := run("none"); code != 0 || !strings.Contains(out, "There is no StreamSnapshot") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if code, out := run("-o", "json"); code != 0 || !strings.Contains(out, `"path": "s3://bkt/savepoints/one/"`) {
		t.Errorf("exit %d:\n%s", code, out)
	}
}
