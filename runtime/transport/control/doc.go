// SPDX-License-Identifier: Apache-2.0

// Package control carries the messages of package protocol between the coordinator and its
// workers: one gRPC stream for each worker, opened by the worker, with JSON messages. Within
// one process [Pipe] connects the two without a socket.
package control
