// SPDX-License-Identifier: Apache-2.0

// Package jobconfig stands between the StreamJob API and the engine. Validate reads a StreamJob from YAML and checks it
// with the schema and the rules of the custom resource definition, by the libraries of the API server and so with its
// messages; Check adds what such rules cannot see. ToContract translates the result to the configuration that the
// engine takes.
//
// The package needs no cluster: the command line tool uses it to run a StreamJob on one machine.
package jobconfig
