// SPDX-License-Identifier: Apache-2.0

// Command deploy makes what people install Weir with from the manifests of config, which stay the only place where anything is said: one file for
// kubectl, and the templates of the Helm chart. It is a module of its own because its tests link Helm.
package main
