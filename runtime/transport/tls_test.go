// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTLSConfigNamesTheFileThatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if err := GenerateCerts(dir, []string{"example.test", "10.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := CertFiles(dir, "worker")
	tests := map[string]struct {
		change func(*TLSConfig)
		want   string
	}{
		"no certificate":    {change: func(c *TLSConfig) { c.CertFile = filepath.Join(dir, "none.crt") }, want: "none.crt"},
		"no key":            {change: func(c *TLSConfig) { c.KeyFile = filepath.Join(dir, "none.key") }, want: "none.key"},
		"key of another":    {change: func(c *TLSConfig) { c.KeyFile = filepath.Join(dir, "client.key") }, want: "client.key"},
		"no CA":             {change: func(c *TLSConfig) { c.CAFile = filepath.Join(dir, "none.pem") }, want: "none.pem"},
		"CA that is no PEM": {change: func(c *TLSConfig) { c.CAFile = bad }, want: "bad.pem holds no certificate"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			tc.change(&c)
			for side, err := range map[string]error{"client": second(c.Client(RoleWorker)), "server": second(c.Server(RoleWorker))} {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: %v; want it to name %q", side, err, tc.want)
				}
			}
		})
	}
	if _, err := good.Client(RoleCoordinator); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }
