// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// Storage returns a storage as the engine takes it; nil for nil. Credentials are no part of it.
func Storage(s *streamv1.Storage) *contract.Storage { return storageOf(s) }
