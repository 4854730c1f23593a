// SPDX-License-Identifier: Apache-2.0

package logsink

import (
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

func TestSink_LogsRows(t *testing.T) {
	var got []string
	log := funcr.New(func(_, args string) { got = append(got, args) }, funcr.Options{})
	s := New()
	if err := s.Open(t.Context(), &operator.Context{Name: "log", Log: log}); err != nil {
		t.Fatal(err)
	}
	b := columns.NewSchema(columns.Field{Name: "word", Kind: columns.String}, columns.Field{Name: "n", Kind: columns.Int},
		columns.Field{Name: "f", Kind: columns.Float}, columns.Field{Name: "ok", Kind: columns.Bool}).NewBatch()
	b.SetLen(2)
	b.Columns[0].AppendString("the")
	b.Columns[0].AppendString("")
	b.Columns[1].Ints = []int64{7, -1}
	b.Columns[2].Floats = []float64{1.5, 0}
	b.Columns[3].Bools = []bool{true, false}
	if st, err := s.Process(0, b); st != operator.Done || err != nil {
		t.Fatalf("status %v, error %v", st, err)
	}
	want := []string{
		`"level"=0 "msg"="Row" "word"="the" "n"=7 "f"=1.5 "ok"=true`, `"level"=0 "msg"="Row" "word"="" "n"=-1 "f"=0 "ok"=false`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

type otherBatch struct{ record.Batch }

func TestSink_RefusesOtherBatches(t *testing.T) {
	if _, err := New().Process(0, otherBatch{}); err == nil {
		t.Error("a batch without columns was taken")
	}
}
