// SPDX-License-Identifier: Apache-2.0

// Package verify looks at snapshots in storage: it finds them, says what is in them, and reads every byte of one to see
// whether it is whole. It changes nothing.
package verify
