// SPDX-License-Identifier: Apache-2.0

// Package remotestore lets workers use the memory of the coordinator as the storage of a job that has none. It is for small
// checkpoints: whole objects travel in one message each, and what there is may not grow beyond a limit. The objects live
// as long as the coordinator.
package remotestore
