// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bufio"
	"io"
)

// logLines logs what is read line by line and returns the last lines.
func logLines(r io.Reader, log func(format string, args ...any)) (last []string) {
	const keep = 20
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		log("  %s", sc.Text())
		if last = append(last, sc.Text()); len(last) > keep {
			last = last[1:]
		}
	}
	_, _ = io.Copy(io.Discard, r)
	return last
}
