// SPDX-License-Identifier: Apache-2.0

// Package lint checks what linters cannot say about this tree: which package may see which, that the pure cores of the
// engine start no goroutine, read no clock and open no socket, and what every Go file and package must have; and
// that documents name tests that exist, for each rule of the semantics and each guarantee of the operator. Its tests run over the tree; `make lint` runs them.
package lint
