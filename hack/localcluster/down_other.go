// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "errors"

func unmountBelow(string) error { return errors.New("a local cluster needs Linux") }
