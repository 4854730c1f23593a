// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// MaxNameLength is the most characters that [Name] returns. It leaves room for what Kubernetes puts behind the names of
// Deployments and StatefulSets, in pod names and in the labels that it makes of them.
const MaxNameLength = 52

// Components are the values of the label [streamv1.LabelComponent].
const (
	CoordinatorComponent = "coordinator"
	WorkerComponent      = "worker"
	AgentComponent       = "agent"
)

// hashLength is how many digits of a hash stand for what was cut off a name.
const hashLength = 8

// Name returns the name of an object of a grant: <job>-<grant>, and -<suffix> behind it unless suffix is empty. A name that would
// be longer than [MaxNameLength] loses the end of the job's name to a hash of it all, so that it stays unique.
func Name(job string, grant int64, suffix string) string {
	tail := "-" + strconv.FormatInt(grant, 10)
	if suffix != "" {
		tail += "-" + suffix
	}
	return shorten(job, tail)
}

// shorten returns head and tail, with as much of the head replaced by a hash as is needed. A tail that leaves no room
// becomes part of the hash.
func shorten(head, tail string) string {
	name := head + tail
	if len(name) <= MaxNameLength {
		return name
	}
	hash := "-" + digest([]byte(name))[:hashLength]
	if room := MaxNameLength - len(hash) - len(tail); room > 0 {
		return strings.TrimRight(head[:min(room, len(head))], "-") + hash + tail
	}
	return strings.TrimRight(name[:MaxNameLength-len(hash)], "-") + hash
}

// digest returns the SHA-256 of b in hexadecimal digits.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Labels returns the labels of an object of a grant; component is left out when it is empty.
func Labels(job string, grant int64, component string) map[string]string {
	labels := Selector(job)
	labels[streamv1.LabelGrant] = strconv.FormatInt(grant, 10)
	if component != "" {
		labels[streamv1.LabelComponent] = component
	}
	return labels
}

// Selector returns the labels that all objects of a job have, of whatever grant.
func Selector(job string) map[string]string {
	return map[string]string{streamv1.LabelJob: job}
}

// SecretName returns the name of the secret with the certificate of a component: [CoordinatorComponent], [WorkerComponent],
// or "client" for who calls the control API.
func SecretName(job, component string) string { return job + "-" + component + "-tls" }

// Owner returns the reference by which Kubernetes deletes an object after its StreamJob. It does not hold up a deletion in the foreground. The garbage collector then deletes
// all objects of the StreamJob, once, and lets go of it; what is needed to stop the job in order, with a savepoint maybe, is made again and stays. If it held it up, that would be deleted each time.
func Owner(job *streamv1.StreamJob) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(streamv1.SchemeGroupVersion.String()).
		WithKind("StreamJob").
		WithName(job.Name).
		WithUID(job.UID).
		WithController(true).
		WithBlockOwnerDeletion(false)
}
