// SPDX-License-Identifier: Apache-2.0

package resources

import (
	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// RevisionHash returns a hash of everything in a spec whose change needs a restart of the job.
func RevisionHash(spec *streamv1.StreamJobSpec) string {
	return ""
}

// PolicyHash returns a hash of everything in a spec that a running job takes over without a restart.
func PolicyHash(spec *streamv1.StreamJobSpec) string {
	return ""
}
