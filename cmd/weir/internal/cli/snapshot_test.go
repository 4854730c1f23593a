// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/weir-stream/weir/runtime/snapshot/verify"
)

func TestPrintSummary_TellsRowsInFlightFromState(t *testing.T) {
	var out strings.Builder
	err := printSummary(&out, &verify.Summary{Kind: "checkpoint", Operators: []verify.OperatorSummary{
		{Name: "counts", Parallelism: 2, Files: 4, Bytes: 2048, InFlightRows: 1234},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := squeeze(out.String())
	for _, want := range []string{"OPERATOR PARALLELISM FINISHED STATE FILES ROWS IN FLIGHT LISTS", "counts 2 0 2.0 KiB in 4 files 1,234 -"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}
