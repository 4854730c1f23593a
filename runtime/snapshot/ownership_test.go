// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"strings"
	"testing"
)

func TestOwner_Golden(t *testing.T) {
	t.Parallel()
	b, err := EncodeOwner("4f1c", "shop/orders")
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeOwner(golden(t, "owner-1.golden", b))
	if want := (Owner{Format: 1, JobID: "4f1c", Job: "shop/orders"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDecodeOwner_Refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"another format":   {`{"format":2,"jobID":"a"}`, "format 2"},
		"no job":           {`{"format":1}`, "names no job"},
		"an unknown field": {`{"format":1,"jobID":"a","x":1}`, "unknown field"},
		"nothing":          {"", "reading the owner"},
		"too much":         {strings.Repeat(" ", maxOwnerSize+1), "more than"},
	} {
		if _, err := DecodeOwner([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := EncodeOwner("", "x"); err == nil {
		t.Error("an owner without id is encoded")
	}
}
