// SPDX-License-Identifier: Apache-2.0

// Package human writes numbers, sizes and durations the way the command lines show them.
package human

import (
	"fmt"
	"strconv"
	"time"
)

// Number writes a count with a thin separation of thousands: "1,234,567".
func Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Count writes a number with its noun: "1 slot", "2 slots".
func Count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Number(n) + " " + noun + "s"
}

// Rate writes a rate per second: "950/s", "12.3k/s", "4.56M/s".
func Rate(perSecond float64) string {
	switch {
	case perSecond < 1000:
		return fmt.Sprintf("%.0f/s", perSecond)
	case perSecond < 1e6:
		return fmt.Sprintf("%.1fk/s", perSecond/1e3)
	default:
		return fmt.Sprintf("%.2fM/s", perSecond/1e6)
	}
}

// Bytes writes a size: "512 B", "1.5 KiB", "20.0 MiB".
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		v /= 1024
		if v < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// Duration writes a duration with the precision that people read: "45ms", "3.2s", "1m12s", "2h5m".
func Duration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
}
