// SPDX-License-Identifier: Apache-2.0

package s3store

import (
	"crypto/x509"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const inImage = "WEIR_TEST_IN_IMAGE"

// TestRoots_AreThereInAnImageWithoutAny shows that a process finds certificate authorities where the system has none, as in an image with nothing but a binary.
func TestRoots_AreThereInAnImageWithoutAny(t *testing.T) {
	if os.Getenv(inImage) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), inImage+"=1", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	if pool, err := x509.SystemCertPool(); err == nil && !pool.Equal(x509.NewCertPool()) {
		t.Fatal("the system has authorities here")
	}
	names := ""
	for _, subject := range authorities().Subjects() { //nolint:staticcheck // the pool is not the system's, so it tells all of them
		names += string(subject)
	}
	if !strings.Contains(names, "Amazon Root CA 1") {
		t.Error("an authority of Amazon is missing")
	}
}
