// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"net"
	"time"
)

// firstTry bounds the first try to connect to the address; each further one takes twice as long.
const firstTry = 300 * time.Millisecond

// dialer opens a connection; ctx ends the try.
type dialer func(ctx context.Context, addr string) (net.Conn, error)

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// patiently returns a dialer that follows a try that hangs by another, longer one, until ctx ends. The first packet of a connection
// to a service that its node doesn't know yet is lost, and the node goes on losing its repetitions; those of a new connection
// get through.
func (d dialer) patiently(ctx context.Context, addr string) (net.Conn, error) {
	for patience := firstTry; ; patience *= 2 {
		try, cancel := context.WithTimeout(ctx, patience)
		conn, err := d(try, addr)
		hung := try.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !hung {
			return conn, err
		}
	}
}
