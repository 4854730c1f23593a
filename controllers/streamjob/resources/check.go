// SPDX-License-Identifier: Apache-2.0

package resources

import (
	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Check returns what is wrong with a StreamJob that only matters on Kubernetes; nothing when it is fine. Each message starts
// with the path of the field and says what to do.
func Check(job *streamv1.StreamJob) []string {
	return nil
}
