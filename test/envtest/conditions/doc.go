// SPDX-License-Identifier: Apache-2.0

// Package conditions reads the conditions of a StreamJob as kstatus does, the convention by which tools wait for objects, and
// checks that they are documented.
package conditions
