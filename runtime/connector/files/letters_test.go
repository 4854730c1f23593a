// SPDX-License-Identifier: Apache-2.0

package files

import (
	"encoding/json"
	"testing"

	"github.com/weir-stream/weir/runtime/connector/format"
)

// An empty line is one, too: a dead letter always holds what was read.
func TestLetter_HoldsTheLine(t *testing.T) {
	for line, want := range map[string]string{
		"":         `{"file":"f","offset":7,"byte":0,"reason":"it is bad","line":""}`,
		"{":        `{"file":"f","offset":7,"byte":0,"reason":"it is bad","line":"{"}`,
		"{\xff\"}": `{"file":"f","offset":7,"byte":0,"reason":"it is bad","base64":"e/8ifQ=="}`,
	} {
		got, err := json.Marshal(newLetter("f", 7, &format.MalformedError{Reason: "it is bad"}, []byte(line)))
		if err != nil || string(got) != want {
			t.Errorf("the dead letter of %q is %s (%v), want %s", line, got, err, want)
		}
	}
}
