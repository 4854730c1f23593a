// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the StreamJob API: what a user writes to say which streaming job runs, how it is
// checkpointed, where its snapshots go and how it is restarted.
//
// The types are the source of the custom resource definition in config/crd. Everything a value must fulfil by
// itself or together with its neighbours is a schema rule or a CEL rule here, so the API server and the command
// line tool refuse the same file with the same message.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=stream.weir.dev
package v1alpha1
