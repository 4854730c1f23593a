// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package program

import (
	"errors"
	"time"
)

// usedTime is for systems that aren't asked.
func usedTime() (time.Duration, error) {
	return 0, errors.ErrUnsupported
}
