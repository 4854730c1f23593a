// SPDX-License-Identifier: Apache-2.0

// Package rulestest holds, for every rule of the StreamJob API, StreamJobs that it accepts and one that it refuses with the
// messages of the refusal. Tests put them through the checks of this machine and through a real API server, which must agree.
package rulestest
