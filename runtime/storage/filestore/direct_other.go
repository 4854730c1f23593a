// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package filestore

import (
	"errors"
	"os"
)

// setDirect says that there are no writes past the page cache here.
func setDirect(*os.File, bool) error { return errors.ErrUnsupported }

func allocate(*os.File, int64) error { return errors.ErrUnsupported }
