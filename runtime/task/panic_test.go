// SPDX-License-Identifier: Apache-2.0

package task

import (
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

// caught runs f and returns what came of its panic.
func caught(f func()) (err *PanicError) {
	defer func() { err = &PanicError{Value: recover(), Stack: firstFrames(string(debug.Stack()), 24)} }()
	f()
	return nil
}

func outOfRange(rows []int, i int) int { return rows[i] }

type counter struct{ n *int }

func (c *counter) add() { *c.n++ }

// The first line of a panic says what it was and where, since that is all a condition shows.
func TestPanicError_SaysWhereInItsFirstLine(t *testing.T) {
	tests := map[string]struct {
		f    func()
		want string
	}{
		"by hand":        {func() { panic("no") }, `^panic: no \(in task\.TestPanicError_SaysWhereInItsFirstLine\.func1, panic_test\.go:\d+\)$`},
		"by the runtime": {func() { outOfRange(nil, 3) }, `^panic: runtime error: index out of range \[3\] with length 0 \(in task\.\S+, panic_test\.go:\d+\)$`},
		"by a signal":    {func() { (&counter{}).add() }, `^panic: runtime error: invalid memory address or nil pointer dereference \(in task\.\S+, panic_test\.go:\d+\)$`},
		"again":          {func() { defer func() { panic(recover()) }(); panic("no") }, `^panic: .*no.* \(in task\.\S+, panic_test\.go:\d+\)$`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			line, _, _ := strings.Cut(caught(tc.f).Error(), "\n")
			if !regexp.MustCompile(tc.want).MatchString(line) {
				t.Errorf("the first line is %q, want %s", line, tc.want)
			}
		})
	}
}

func TestPanicError_WithoutAStack(t *testing.T) {
	if got := (&PanicError{Value: "no", Stack: "goroutine 1 [running]:"}).Error(); !strings.HasPrefix(got, "panic: no\n") {
		t.Errorf("it is %q", got)
	}
}
