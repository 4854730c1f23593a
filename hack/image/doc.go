// SPDX-License-Identifier: Apache-2.0

// Command image writes a container image around static binaries as a tar archive, without Docker and without a registry. The archive
// is at once an OCI layout and what docker save writes, so that docker load, ctr images import and kind load
// image-archive all take it. The same input gives the same bytes.
//
//	image --output weir.tar --tag weir:dev --entrypoint /manager --file bin/manager:/manager --file bin/engine:/engine
//
// Besides the files the image has /etc/passwd and /etc/group with one user, and a /tmp that everybody may write to.
package main
