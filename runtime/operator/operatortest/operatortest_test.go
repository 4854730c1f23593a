// SPDX-License-Identifier: Apache-2.0

package operatortest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/operatortest"
)

func TestText_IsReadBack(t *testing.T) {
	t.Parallel()
	lists := []operator.List{
		{Name: "a list", Mode: operator.Broadcast, Type: `struct{A "x"}`, Entries: [][]byte{[]byte(`{"n":1}`), {0, 255, '`'}, []byte("\n"), {}}},
		{Name: "empty"},
	}
	text := "# a remark\n\n" + operatortest.Text(lists)
	got, err := operatortest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(lists, got); d != "" {
		t.Errorf("(-want +got):\n%s\n%s", d, text)
	}
}

func TestParse_NamesTheLine(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"entry without a list": {"\t`a`\n", "line 1"},
		"no quotes":            {"list \"a\" 0 \"\"\n\ta\n", "line 2"},
		"no mode":              {"# \nlist \"a\"\n", "line 2"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := operatortest.Parse(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestReadBytes_ReadsADump(t *testing.T) {
	t.Parallel()
	var all []byte
	for i := range 256 + 5 { // a last line that isn't full
		all = append(all, byte(i))
	}
	if d := cmp.Diff(all, operatortest.ReadBytes(t, "bytes.hex")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	operatortest.GoldenBytes(t, "bytes.hex", all)
}
