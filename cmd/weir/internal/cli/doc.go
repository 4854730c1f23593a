// SPDX-License-Identifier: Apache-2.0

// Package cli holds the commands of the weir program. Each command is a small function over
// [App], which stands for the world outside: the streams, the clock and the signals.
package cli
