// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"
)

func (c *cluster) down(context.Context) error { return errors.New("a local cluster needs Linux") }
