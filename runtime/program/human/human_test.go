// SPDX-License-Identifier: Apache-2.0

package human_test

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/program/human"
)

func TestHuman(t *testing.T) {
	tests := map[string]struct{ got, want string }{
		"zero":            {human.Number(0), "0"},
		"three digits":    {human.Number(999), "999"},
		"four digits":     {human.Number(1000), "1,000"},
		"seven digits":    {human.Number(1234567), "1,234,567"},
		"negative":        {human.Number(-123456), "-123,456"},
		"one":             {human.Count(1, "slot"), "1 slot"},
		"many":            {human.Count(1200, "slot"), "1,200 slots"},
		"slow":            {human.Rate(12.4), "12/s"},
		"thousands":       {human.Rate(12345), "12.3k/s"},
		"millions":        {human.Rate(4.56e6), "4.56M/s"},
		"bytes":           {human.Bytes(1023), "1023 B"},
		"KiB":             {human.Bytes(1536), "1.5 KiB"},
		"MiB":             {human.Bytes(20 << 20), "20.0 MiB"},
		"beyond TiB":      {human.Bytes(5 << 50), "5120.0 TiB"},
		"milliseconds":    {human.Duration(45400 * time.Microsecond), "45ms"},
		"seconds":         {human.Duration(3210 * time.Millisecond), "3.2s"},
		"minutes":         {human.Duration(72 * time.Second), "1m12s"},
		"hours":           {human.Duration(125 * time.Minute), "2h5m"},
		"before its time": {human.Duration(-time.Second), "0s"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("got %q, want %q", tc.got, tc.want)
			}
		})
	}
}
