// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// nested goes through a list of ten, once for each element of the one around it.
func nested(depth int) string {
	text := "1"
	for i := range depth {
		text = "[0,1,2,3,4,5,6,7,8,9].map(x" + string(rune('a'+i)) + ", " + text + ").size()"
	}
	return text
}

// TestEval_EndsThoughMacrosAreNested has a row cost more steps than anybody waits for: 10^20 of them in less than 1000 characters.
func TestEval_EndsThoughMacrosAreNested(t *testing.T) {
	env, err := NewEnv(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	batch := randomBatch(rand.New(rand.NewPCG(1, 1)), 1)
	for depth, ends := range map[int]bool{3: true, 20: false} {
		p, err := env.Compile(nested(depth) + " + a * 0")
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.NewEvaluator()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = e.Eval(batch)
		if row, ok := errors.AsType[*RowError](err); ends != (err == nil) || !ends && (!ok || !strings.Contains(row.Error(), "more than 2000000 steps for one row: nest fewer")) {
			t.Errorf("%d deep: got %v", depth, err)
		}
		t.Logf("%d deep: %v", depth, time.Since(began))
	}
}
