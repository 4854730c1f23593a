// SPDX-License-Identifier: Apache-2.0

package job_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// The errors of tasks may have any length. The head, which takes less, still records them, and all else.
func TestMachine_LongErrorsAreCut(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{"text": "no such row; ", "bytes that take six as JSON": "\x01\xff", "letters of several bytes": "жж€"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			long := strings.Repeat(unit, 5_000_000/len(unit))
			note := func(text string) string { return fmt.Sprintf("(cut, %d bytes in all)", len(text)) }
			declines := long[:100_000/len(unit)*len(unit)] // those of all operations together are too much, too
			s := &script{t: t, now: epochStart, where: map[protocol.TaskID]string{}, attempts: map[protocol.TaskID]protocol.Attempt{}}
			s.damaged, s.manifests = map[string]bool{}, map[string]*snapshot.Manifest{}
			run := func(command string, args ...string) {
				t.Helper()
				d := &datadriven.TestData{Cmd: command}
				for _, a := range args {
					key, val, _ := strings.Cut(a, "=")
					d.CmdArgs = append(d.CmdArgs, datadriven.CmdArg{Key: key, Vals: []string{val}})
				}
				s.command(d)
				s.settle()
			}
			encodes := func() {
				t.Helper()
				b, err := snapshot.EncodeHead(s.head)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := snapshot.DecodeHead(b); err != nil {
					t.Fatal(err)
				}
			}
			run("coordinator", "restart=none")
			run("worker", "a")
			run("tasks", "running")
			src := protocol.TaskID{Vertex: "src"}
			for i := range snapshot.MaxHeadOperations + 1 {
				run("savepoint", fmt.Sprintf("op-%d", i))
				s.from(src, protocol.FromWorker{Decline: &protocol.Decline{
					Attempt: s.attempts[src], Task: src, Checkpoint: s.triggered, Reason: protocol.DeclinedAsync, Error: declines,
				}})
				run("pass", "1s")
			}
			encodes()
			ops := s.head.Operations
			if n := len(ops); n != snapshot.MaxHeadOperations {
				t.Errorf("the head has %d operations", n)
			}
			for _, op := range ops {
				if !strings.Contains(op.Error, "task src/0 declined it") || !strings.Contains(op.Error, note(declines)) {
					t.Fatalf("operation %s: %.100q… of %d bytes", op.ID, op.Error, len(op.Error))
				}
			}
			run("tasks", "failed", "src/0", "error="+long)
			run("tasks", "canceled", "src/1", "out/0", "out/1")
			encodes()
			if f := s.head.Final; f == nil || !strings.Contains(f.Error, "task src/0: ") || !strings.Contains(f.Error, note(long)+" (not restarted: ") {
				t.Errorf("the head has the end %+v", f)
			}
			st := s.m.Status(s.now)
			if n := len(st.LastFailure.Error); n > snapshot.MaxHeadText || len(st.Message) > snapshot.MaxHeadText {
				t.Errorf("the status has a failure of %d bytes and a message of %d", n, len(st.Message))
			}
			for _, c := range st.History {
				if len(c.Error) > snapshot.MaxHeadText || len(c.Culprit.Text) > snapshot.MaxHeadText {
					t.Errorf("the history has an error of %d bytes, and a culprit of %d", len(c.Error), len(c.Culprit.Text))
				}
			}
			if n := s.out.Len(); n > 4<<20 {
				t.Errorf("what the machine asked for has %d bytes", n)
			}
		})
	}
}
