// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package filestore

import "os"

const aioWrite, aioFlush = 1, 2

// inBackground says that the kernel does nothing in the background here.
func inBackground(*os.File, uint16, []byte, int64) (n int, ok bool, err error) { return 0, false, nil }

// freesLater says that nothing is freed in the background here.
func freesLater(*os.File) bool { return false }

func closeDeleted(f *os.File) error { return f.Close() }
