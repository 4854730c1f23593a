// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
)

// checkpointHistory has a snapshot in flight, one that failed and one that completed.
func checkpointHistory() contract.CheckpointsReport {
	return contract.CheckpointsReport{
		Completed: 4, Failed: 2, InFlight: 1, ConsecutiveFailures: 1, FailedByReason: map[string]int64{"Expired": 2},
		Totals: contract.CheckpointTotals{
			DurationMillis: 9000, TriggerDelayMillis: 100, StartDelayMillis: 2000, AlignmentMillis: 300, WaitedMillis: 40, SyncMicros: 5000,
			AsyncMillis: 6000, UploadMillis: 5500, FinalizeMillis: 70, WrittenBytes: 800, ReusedBytes: 90, ChannelBytes: 10,
		},
		Summary: &contract.CheckpointsSummary{
			Count: 4, DurationMillis: contract.Spread{P50: 1000, P95: 2000, P99: 3000, Max: 4000}, StartDelayMillis: contract.Spread{P50: 10},
		},
		Recent: []contract.CheckpointReport{
			{SnapshotInfo: contract.SnapshotInfo{ID: 7, DurationMillis: 2500}, State: "InFlight"},
			{SnapshotInfo: contract.SnapshotInfo{ID: 6}, State: "Failed", Tasks: 9, Acked: 7},
			{SnapshotInfo: contract.SnapshotInfo{ID: 5}, State: "Failed", Tasks: 9, Acked: 1},
			{SnapshotInfo: contract.SnapshotInfo{ID: 5}, State: "Completed", SyncMicros: 1500, UploadMillis: 20, WrittenBytes: 33, AlignmentBytes: 44, ChannelBytes: 3},
			{SnapshotInfo: contract.SnapshotInfo{ID: 4}, State: "Completed", SyncMicros: 1, UploadMillis: 1, WrittenBytes: 1},
		},
		Newest: []contract.VertexCheckpoint{{Vertex: "count", StartDelayMillis: 11, AlignmentMillis: 12, SyncMicros: 13, WrittenBytes: 14}},
	}
}

func TestAPI_CheckpointMetrics(t *testing.T) {
	_, url := serve(t, &fakeControl{history: checkpointHistory()})
	_, body := get(t, url+contract.PathMetrics)
	var got []string
	common := strings.NewReplacer(`job="test",`, "", `,namespace="default"`, "", `namespace="default",`, "", `namespace="default"`, "")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "weir_checkpoint_") || strings.HasPrefix(line, "weir_last_checkpoint_") || strings.HasPrefix(line, "weir_last_failed_") {
			got = append(got, common.Replace(strings.TrimSpace(line)))
		}
	}
	want, err := os.ReadFile("testdata/checkpoint_metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// TestMetrics_AreBounded checks that neither subtasks nor many vertices make many series.
func TestMetrics_AreBounded(t *testing.T) {
	h := checkpointHistory()
	h.Newest = nil
	for i := range 200 {
		h.Newest = append(h.Newest, contract.VertexCheckpoint{Vertex: fmt.Sprintf("v%d", i), Tasks: 10000})
	}
	_, url := serve(t, &fakeControl{history: h})
	_, body := get(t, url+contract.PathMetrics)
	if got := strings.Count(body, "weir_last_checkpoint_vertex_"); got > 50*(6+5)+4 {
		t.Errorf("%d series by vertex, want at most 550", got)
	}
}

// TestMetrics_AreDocumented compares the metrics with their reference.
func TestMetrics_AreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/reference/control-api.md")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeControl{history: checkpointHistory(), job: contract.JobStatus{State: contract.JobRunning, LastCheckpoint: &contract.SnapshotInfo{ID: 1}, Sweeps: &contract.Sweeps{At: time.Unix(1, 0)}}}
	_, url := serve(t, f)
	_, body := get(t, url+contract.PathMetrics)
	var served, documented []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (weir_\w+) (\w+)$`).FindAllStringSubmatch(body, -1) {
		served = append(served, m[1]+" "+m[2])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(weir_\\w+)(?:\\{[^}]*\\})?` \\| (\\w+) \\|").FindAllStringSubmatch(string(doc), -1) {
		if m[1] != "weir_last_checkpoint_completed_timestamp_seconds" { // only with a time
			documented = append(documented, m[1]+" "+m[2])
		}
	}
	slices.Sort(served)
	slices.Sort(documented)
	if diff := cmp.Diff(documented, served); diff != "" {
		t.Errorf("documented and served metrics differ (-documented +served):\n%s", diff)
	}
}

func TestAPI_CheckpointDetail(t *testing.T) {
	f := &fakeControl{detail: contract.CheckpointDetail{Vertices: []contract.VertexCheckpoint{{Vertex: "v"}}}}
	c, url := serve(t, f)
	d, err := c.CheckpointDetail(t.Context(), 12)
	if err != nil || d.ID != 12 || len(d.Vertices) != 1 {
		t.Errorf("got %+v, %v", d, err)
	}
	for _, id := range []string{"x", "0", "-1", "99999999999999999999"} {
		code, body := get(t, url+contract.PathCheckpoints+"/"+id)
		if code != http.StatusBadRequest || !strings.Contains(body, `"remedy"`) {
			t.Errorf("id %s: %d %s, want 400 with a remedy", id, code, body)
		}
	}
}
