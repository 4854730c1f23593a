// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCerts_AreReplacedOnlyWhenAskedFor: the key of the authority isn't kept, so what processes run with could not be made again.
func TestCerts_AreReplacedOnlyWhenAskedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	authority := func() []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if code, _, errs := weir(t, "certs", dir); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	first := authority()
	code, out, errs := weir(t, "certs", dir)
	if code != exitFailed || out != "" || !strings.Contains(errs, "ca.crt is there already: give another directory") || !strings.Contains(errs, "--replace") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	if !bytes.Equal(first, authority()) {
		t.Error("the set was replaced")
	}
	if code, _, errs := weir(t, "certs", dir, "--replace"); code != exitOK || bytes.Equal(first, authority()) {
		t.Errorf("asked to, it did not replace the set: exit code %d, %s", code, errs)
	}
}
