// SPDX-License-Identifier: Apache-2.0

package task

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/state"
)

// TestPermanent_IsWhatNoRestartMends: what would be the same at every restart ends the job, also from within other errors; what storage may get over doesn't.
func TestPermanent_IsWhatNoRestartMends(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want bool
	}{
		"damage":         {&state.CorruptError{Path: "f"}, true},
		"another type":   {&state.SchemaError{State: "count"}, true},
		"a newer format": {&state.FormatError{What: "state file", Path: "f", Version: 9, Known: 2}, true},
		"another kind":   {&operator.UnusedStateError{Lists: []string{"positions"}}, true},
		"other settings": {&operator.StateError{Err: errors.New("it had 3 keys")}, true},
		"expired":        {&txn.ExpiredError{}, true},
		"storage":        {errors.New("the connection was reset"), false},
	}
	for name, tc := range tests {
		_, fatal := errors.AsType[*FatalError](permanent(fmt.Errorf("restoring: %w", tc.err)))
		if fatal != tc.want {
			t.Errorf("%s: permanent is %t, want %t", name, fatal, tc.want)
		}
	}
}
