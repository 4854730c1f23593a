// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package state

import (
	"testing"
	"time"
)

var started = time.Now()

// threadTime is the time on the clock where that of the processor isn't known.
func threadTime(testing.TB) time.Duration { return time.Since(started) }

// processTime is the time on the clock, too.
func processTime(testing.TB) time.Duration { return time.Since(started) }
