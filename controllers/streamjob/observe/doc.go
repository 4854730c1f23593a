// SPDX-License-Identifier: Apache-2.0

// Package observe turns objects as Kubernetes has them into what the planner decides from. It is pure: lists of objects in, a
// [plan.Observation] out.
package observe
