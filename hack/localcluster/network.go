// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// settings of the kernel that pods need; what they were is kept for down.
func settings() map[string]string {
	return map[string]string{"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
}

// floors are settings of the kernel that must be no lower. Each pod has neighbours in its own network, and all of them share one table: by default it holds 1024,
// which is too few for 400 pods; once it is full, nobody on the machine reaches anybody new.
func floors() map[string]int {
	return map[string]int{"net/ipv4/neigh/default/gc_thresh1": 1024, "net/ipv4/neigh/default/gc_thresh2": 4096, "net/ipv4/neigh/default/gc_thresh3": 8192}
}

// changedSettings are settings of the kernel that the cluster changes: those above, those of the kubelet and those of kube-proxy.
func changedSettings() []string {
	return append(append(slices.Sorted(maps.Keys(settings())), slices.Sorted(maps.Keys(floors()))...),
		"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom",
		"net/ipv4/conf/all/route_localnet")
}

// rememberSettings keeps what they are; once.
func (c *cluster) rememberSettings() error {
	for _, name := range changedSettings() {
		kept := c.kept(name)
		if _, err := os.Stat(kept); err == nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a setting of the kernel: %w", err)
		}
		if err := write(kept, string(b), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) kept(name string) string {
	return c.path("sysctl", strings.ReplaceAll(name, "/", "."))
}

// networkUp makes the bridge that carries the address of the node.
func (c *cluster) networkUp(ctx context.Context) error {
	if err := c.rememberSettings(); err != nil {
		return err
	}
	for name, want := range settings() {
		if err := change(name, want); err != nil {
			return err
		}
	}
	for name, least := range floors() {
		if err := raise(name, least); err != nil {
			return err
		}
	}
	if _, err := net.InterfaceByName(nodeBridge); err == nil {
		return nil
	}
	for _, args := range [][]string{
		{"link", "add", nodeBridge, "type", "bridge"},
		{"addr", "add", nodeCIDR, "dev", nodeBridge},
		{"link", "set", nodeBridge, "up"},
	} {
		if _, err := command(ctx, "ip", args...); err != nil {
			return fmt.Errorf("making the network of the node: %w", err)
		}
	}
	return nil
}

// change changes a setting of the kernel.
func change(name, want string) error {
	file := filepath.Join("/proc/sys", name)
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && strings.Contains(name, "bridge") {
		return nil // traffic between pods doesn't pass the packet filter then, which is all right
	}
	if err != nil {
		return fmt.Errorf("reading a setting of the kernel: %w", err)
	}
	if strings.TrimSpace(string(b)) == want {
		return nil
	}
	return os.WriteFile(file, []byte(want), 0o644)
}

// raise changes a setting of the kernel that is lower. One that isn't there can't be changed, as in a network namespace that isn't the host's.
func raise(name string, least int) error {
	b, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading a setting of the kernel: %w", err)
	}
	if now, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && now >= least {
		return nil
	}
	return change(name, strconv.Itoa(least))
}

// networkDown removes what networkUp and the network plugins have made.
func (c *cluster) networkDown(ctx context.Context) error {
	var errs []error
	for _, name := range []string{podBridge, nodeBridge} {
		if _, err := net.InterfaceByName(name); err == nil {
			_, err := command(ctx, "ip", "link", "delete", name)
			errs = append(errs, err)
		}
	}
	for _, name := range changedSettings() {
		if b, err := os.ReadFile(c.kept(name)); err == nil {
			errs = append(errs, change(name, strings.TrimSpace(string(b))))
		}
	}
	return errors.Join(errs...)
}

func dial(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

func get(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}
