// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
)

func TestOnlyLists(t *testing.T) {
	entries := [][]byte{{1}}
	lists := []operator.List{{Name: "a", Entries: entries}, {Name: "b"}, {Name: "c", Entries: entries}, {Name: "d", Entries: entries}}
	for _, tc := range []struct{ used, want []string }{
		{[]string{"a", "c", "d"}, nil},
		{[]string{"d", "x", "a"}, []string{"c"}},
		{nil, []string{"a", "c", "d"}},
	} {
		c := &operator.Context{Restored: lists}
		for _, name := range tc.used {
			_ = c.List(name)
		}
		for what, err := range map[string]error{"by name": operator.OnlyLists(tc.used...)(lists), "asked for": c.Unused()} {
			e, found := errors.AsType[*operator.UnusedStateError](err)
			if found != (tc.want != nil) || found && !slices.Equal(e.Lists, tc.want) {
				t.Errorf("with %v in use, %s: %v, want %v", tc.used, what, err, tc.want)
			}
		}
	}
}
