// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package orphans ends the servers of a test whose process is gone before it could stop them: it ran into its time limit, or was killed.
package orphans

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// script waits for a line. If its input ends without one, the process that held the other end is gone.
const script = `read -r over || kill -KILL "$@" 2>/dev/null`

// Guard has all processes that this one has started, and that run now, killed as soon as this one is gone. The function that it returns is to be called
// once they have been stopped: their ids may be those of other processes then.
func Guard() (release func() error, err error) {
	children, err := children()
	if err != nil {
		return nil, err
	}
	c := exec.Command("sh", append([]string{"-c", script, "sh"}, children...)...) //nolint:noctx,gosec // it outlives this process; these are numbers
	in, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("guarding %v: %w", children, err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("guarding %v: %w", children, err)
	}
	return func() error {
		if _, err := io.WriteString(in, "over\n"); err != nil {
			return fmt.Errorf("telling the guard of %v that it is over: %w", children, err)
		}
		return c.Wait()
	}, nil
}

// children are the ids of the processes that this one has started. The system lists them by thread.
func children() ([]string, error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		ids = append(ids, strings.Fields(string(b))...)
	}
	return ids, nil
}
