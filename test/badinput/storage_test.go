// SPDX-License-Identifier: Apache-2.0

package badinput_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	gw := storagetest.StartVersityGW(t).Endpoint
	key, secret := "AWS_ACCESS_KEY_ID="+storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY="+storagetest.SecretKey
	const variables = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	closed, sloppy := "http://"+closedPort(t), httptest.NewServer(http.HandlerFunc(sloppy))
	t.Cleanup(sloppy.Close)
	for name, tc := range map[string]struct {
		endpoint, bucket string
		env              []string
		want             []string
	}{
		"unknown bucket": {gw, "nowhere", []string{key, secret}, []string{"s3://nowhere", "the bucket doesn't exist", "create it or correct its name"}},
		"wrong secret":   {gw, "weir", []string{key, "AWS_SECRET_ACCESS_KEY=wrong"}, []string{"the secret key is wrong", variables}},
		"unknown key":    {gw, "weir", []string{"AWS_ACCESS_KEY_ID=nobody", secret}, []string{"doesn't know the access key", variables}},
		"no credentials": {gw, "weir", []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, []string{"there are no credentials", "set AWS_ACCESS_KEY_ID"}},
		"closed port":    {closed, "weir", []string{key, secret}, []string{closed + " can't be reached", "connection refused", "check the endpoint"}},
		"unconditional":  {sloppy.URL, "weir", []string{key, secret}, []string{"lets an object be created over another one", "use storage that honors If-None-Match"}},
		"no TLS":         {"https://" + sloppy.Listener.Addr().String(), "weir", []string{key, secret}, []string{"doesn't speak TLS", "begin the endpoint with http://"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			j.storage = fmt.Sprintf("{s3: {endpoint: '%s', bucket: %s}}", tc.endpoint, tc.bucket)
			refused(t, tc.env, []string{weir, "run", j.file(t)}, tc.want...)
		})
	}
}

// sloppy is as much of an S3 server as a first write needs. It ignores the conditions of writes.
func sloppy(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	switch {
	case r.Method == http.MethodPut, r.Method == http.MethodHead:
		w.Header().Set("ETag", `"1"`)
	case r.Method == http.MethodPost:
		_, _ = io.WriteString(w, `<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`)
	case r.URL.Query().Has("list-type"):
		_, _ = io.WriteString(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// A full disk fails checkpoints and, when the restarts are used up, the job; where the head doesn't fit, the job waits and
// says so. With more space it goes on: nothing is lost and nothing is there twice.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	const rows = 40_000
	for name, place := range map[string]struct{ state, out string }{
		"state": {"DIR/disk/state", "DIR/out"}, "output": {"DIR/state", "DIR/disk/out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			disk := filepath.Join(j.dir, "disk")
			if err := os.Mkdir(disk, 0o750); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=192k"); err != nil {
				t.Skipf("a small file system can't be mounted here: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
			j.spec += "\n  restart: {fixedDelay: {attempts: 1, delay: 100ms}}"
			j.storage = "{volume: {path: " + place.state + "}}"
			j.source = fmt.Sprintf("generator: {keys: %d, rows: %d, rowsPerSecond: 20000}", rows, rows)
			j.sink = "fileSink: {path: " + place.out + "}"
			command := []string{weir, "run", j.file(t)}
			p := start(t, nil, command...)
			p.tells(t, disk, "no space left on device", "free space")

			if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
				t.Fatal(err)
			}
			text, ok := p.wait(t)
			if !ok { // the restarts were used up before there was space
				text, ok = run(t, nil, command...)
			}
			if !ok {
				t.Fatalf("the job doesn't go on:\n%s", text)
			}
			out := filepath.Join(j.dir, "out")
			if name == "output" {
				out = filepath.Join(disk, "out")
			}
			got := lines(t, out)
			n := len(got)
			slices.Sort(got)
			if distinct := len(slices.Compact(got)); n != rows || distinct != rows {
				t.Errorf("%d lines, %d of them distinct, want %d", n, distinct, rows)
			}
		})
	}
}
