// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestUsers_KnowAStoreByAllNamesOfIt(t *testing.T) {
	const path = "s3://bkt/savepoints/a/"
	tests := map[string]struct {
		a, b string
		same bool
	}{
		"the same":           {"https://s3.example.com", "https://s3.example.com", true},
		"default port":       {"https://s3.example.com", "https://s3.example.com:443", true},
		"default port, http": {"http://s3.example.com:80", "http://s3.example.com", true},
		"another scheme":     {"http://s3.example.com", "https://s3.example.com", true},
		"a slash":            {"https://s3.example.com/", "https://s3.example.com", true},
		"upper case":         {"https://S3.Example.com", "https://s3.example.com", true},
		"a full name":        {"https://s3.example.com.", "https://s3.example.com", true},
		"the bucket in it":   {"https://bkt.s3.example.com", "https://s3.example.com", true},
		"of AWS":             {"", "https://s3.us-east-1.amazonaws.com", true},
		"regions of AWS":     {"https://bkt.s3.amazonaws.com", "https://s3.eu-central-1.amazonaws.com:443", true},
		"an address":         {"http://[::1]:9000", "http://[::1]:9000/", true},
		"another port":       {"https://s3.example.com:9000", "https://s3.example.com", false},
		"another host":       {"https://other.example.com", "https://s3.example.com", false},
		"another bucket":     {"https://x.s3.example.com", "https://s3.example.com", false},
		"AWS and another":    {"", "https://s3.example.com", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			snap := func(uid, endpoint string) streamv1.StreamSnapshot {
				return streamv1.StreamSnapshot{
					ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid)},
					Status: streamv1.StreamSnapshotStatus{
						Path: path, Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt", Endpoint: endpoint}},
					},
				}
			}
			a, b := snap("a", tc.a), snap("b", tc.b)
			for _, pair := range [][2]*streamv1.StreamSnapshot{{&a, &b}, {&b, &a}} {
				if users := Users(pair[0], nil, []streamv1.StreamSnapshot{*pair[1]}); (len(users) == 1) != tc.same {
					t.Errorf("users of %s: %v", pair[0].Name, users)
				}
			}
		})
	}
}

// A stable version that was suspended before it went back to a savepoint still needs it, whatever is newer.
func TestUsers_AVersionThatIsToGoBackNeedsWhatItGoesBackTo(t *testing.T) {
	s := &streamv1.StreamSnapshot{Status: streamv1.StreamSnapshotStatus{Path: "s3://bkt/savepoints/a/"}}
	job := streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Name: "words"},
		Status: streamv1.StreamJobStatus{
			Deployment:     &streamv1.DeploymentReport{Grant: 3, Ended: streamv1.EndStopped},
			LastCheckpoint: &streamv1.SnapshotReport{ID: 9, Path: "s3://bkt/chk-9/"},
			Restore:        &streamv1.RestoreReport{RequestedMode: "Rollback", Path: "s3://bkt/savepoints/a"},
		},
	}
	if users := Users(s, []streamv1.StreamJob{job}, nil); len(users) != 1 {
		t.Errorf("before it went back: %v", users)
	}
	job.Status.Restore.EffectiveMode = "Savepoint"
	if users := Users(s, []streamv1.StreamJob{job}, nil); len(users) != 0 {
		t.Errorf("after it: %v", users)
	}
}
