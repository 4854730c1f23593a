// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// maxImage bounds what status.image holds of an image, maxName of the name of a pod.
const (
	maxImage = 512
	maxName  = 253
)

// report adds to a status what the deployed version runs and what is in force for it. Nothing is decided by it.
func (s *scope) report(status *streamv1.StreamJobStatus) {
	if status.Deployment == nil {
		status.Image, status.Effective = nil, nil
		return
	}
	r, err := s.revision(status.Deployment.Grant)
	if err != nil {
		return // what was reported last still holds: the pods run on
	}
	status.Effective = resources.Effective(*r)
	status.Image = imageOf(s.objects.Pods, status.Deployment.Grant, r.Image, status.Image)
}

// imageOf returns what the pods of a grant run. While it is not known, what was reported before of the same reference holds.
func imageOf(pods []corev1.Pod, grant int64, reference string, before *streamv1.ImageReport) *streamv1.ImageReport {
	out := &streamv1.ImageReport{Reference: plan.Cut(reference, maxImage)}
	if before != nil && before.Reference == out.Reference {
		out.Digest = before.Digest
	}
	digests := digestsOf(pods, grant)
	if i := slices.IndexFunc(digests, func(d podDigest) bool { return d.component == resources.CoordinatorComponent }); i >= 0 {
		out.Digest = digests[i].digest
	}
	for _, d := range digests {
		if out.Digest == "" {
			out.Digest = d.digest
		}
		if d.digest != out.Digest {
			out.DeviatingPod = plan.Cut(d.pod, maxName)
			break
		}
	}
	return out
}

// podDigest is what the engine's container of a pod runs.
type podDigest struct{ pod, component, digest string }

// digestsOf returns what the pods of a grant run, as far as their nodes have told, by name; a pod that is being deleted is left out.
func digestsOf(pods []corev1.Pod, grant int64) []podDigest {
	var out []podDigest
	label := strconv.FormatInt(grant, 10)
	for i := range pods {
		pod := &pods[i]
		component := pod.Labels[streamv1.LabelComponent]
		if pod.Labels[streamv1.LabelGrant] != label || isDeleting(pod) || component == resources.AgentComponent {
			continue
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.Name == component && c.ImageID != "" {
				out = append(out, podDigest{pod.Name, component, plan.Cut(digestOf(c.ImageID), maxImage)})
			}
		}
	}
	slices.SortFunc(out, func(a, b podDigest) int { return cmp.Compare(a.pod, b.pod) })
	return out
}

// digestOf returns the digest in what a container runtime calls an image: it writes name@digest, or an id of its own for an image that was
// not pulled from anywhere.
func digestOf(imageID string) string {
	_, after, found := strings.Cut(imageID, "@")
	if !found {
		_, after, found = strings.Cut(imageID, "://")
	}
	if !found {
		return imageID
	}
	return after
}
