// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Users says who needs a snapshot, of the StreamJobs and StreamSnapshots of its namespace: a StreamJob that names it in restoreFrom, goes on from it,
// or may have to be rolled back to it, and another StreamSnapshot of the same path that is not being deleted. What only storage knows is for
// the agent pod to find out that deletes it.
func Users(s *streamv1.StreamSnapshot, jobs []streamv1.StreamJob, others []streamv1.StreamSnapshot) []string {
	var users []string
	for i := range jobs {
		if why := needs(&jobs[i], s); why != "" {
			users = append(users, fmt.Sprintf("StreamJob %s (%s)", jobs[i].Name, why))
		}
	}
	for i := range others {
		o := &others[i]
		path := cmp.Or(o.Status.Path, string(o.Spec.Path)) // one that adopts it may not have looked yet
		if o.UID != s.UID && o.DeletionTimestamp == nil && samePath(path, s.Status.Path) && samePlace(o.Status.Storage, s.Status.Storage) {
			users = append(users, "StreamSnapshot "+o.Name)
		}
	}
	return users
}

// needs says what a StreamJob needs a snapshot for; empty: nothing.
func needs(job *streamv1.StreamJob, s *streamv1.StreamSnapshot) string {
	if from := job.Spec.RestoreFrom; from != nil && (from.Snapshot == s.Name || samePath(string(from.Path), s.Status.Path)) {
		return "spec.restoreFrom, to be taken out once the job has checkpoints of its own"
	}
	st := &job.Status
	trial := st.Stability != nil || (st.Operation != nil && st.Operation.Type != streamv1.SavepointOperation) // a rollback may need what was there before
	switch {
	case st.Operation != nil && samePath(st.Operation.Path, s.Status.Path):
		return "status.operation, until that has ended"
	case st.Restore != nil && samePath(st.Restore.Path, s.Status.Path) && (trial || st.LastCheckpoint == nil || goesBack(st.Restore)):
		return "status.restore, until its version is stable and nothing is under way"
	case st.LastSavepoint != nil && samePath(st.LastSavepoint.Path, s.Status.Path) && (trial || (st.Deployment != nil && st.Deployment.Ended != "")):
		if trial {
			return "status.lastSavepoint, until its version is stable and nothing is under way"
		}
		return "status.lastSavepoint, which it goes on from when it is run again"
	case st.LastUpgrade != nil && samePath(st.LastUpgrade.Path, s.Status.Path) && trial:
		return "status.lastUpgrade, until its version is stable and nothing is under way"
	default:
		return ""
	}
}

// goesBack says that a rollback is still to go back to what the report names, though the job may be suspended.
func goesBack(r *streamv1.RestoreReport) bool {
	return r.RequestedMode == "Rollback" && r.EffectiveMode == ""
}

// samePath says that two paths are of the same snapshot.
func samePath(a, b string) bool {
	clean := func(p string) string { return strings.TrimSuffix(strings.TrimSuffix(p, "_metadata"), "/") }
	return a != "" && b != "" && clean(a) == clean(b)
}

// samePlace says that two storages may be the same: a path of S3 names its bucket, but endpoints differ, and so do claims.
func samePlace(a, b *streamv1.Storage) bool {
	switch {
	case a == nil || b == nil:
		return true
	case a.S3 != nil && b.S3 != nil:
		return server(a.S3) == server(b.S3)
	case a.Volume != nil && b.Volume != nil:
		return a.Volume.ClaimName == b.Volume.ClaimName
	default:
		return false
	}
}

// server names the store behind an endpoint: the same for all ways to write it down that are known to lead to one.
func server(s *streamv1.S3Storage) string {
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Host == "" {
		if s.Endpoint == "" {
			return "amazonaws.com"
		}
		return s.Endpoint
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	host = strings.TrimPrefix(host, strings.ToLower(s.Bucket)+".") // where the bucket is a part of the name
	if host == "amazonaws.com" || strings.HasSuffix(host, ".amazonaws.com") {
		return "amazonaws.com" // buckets have one name in all regions
	}
	if port := u.Port(); port != "" && port != "443" && port != "80" {
		return net.JoinHostPort(host, port)
	}
	return host
}
