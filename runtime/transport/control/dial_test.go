// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestDialer_FollowsATryThatHangsByALongerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, tries := time.Now(), 0
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		d := dialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if tries++; tries == 3 {
				return here, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		conn, err := d.patiently(t.Context(), "address")
		if conn != here || err != nil {
			t.Errorf("connection %v, error %v", conn, err)
		}
		if got, want := time.Since(begin), 3*firstTry; got != want {
			t.Errorf("connected after %v, want %v", got, want)
		}
	})
}

func TestDialer_EndsWithItsContextOrAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), connectTimeout)
		defer cancel()
		hangs := dialer(func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if _, err := hangs.patiently(ctx, "address"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		if got := time.Since(begin); got != connectTimeout {
			t.Errorf("given up after %v, want %v", got, connectTimeout)
		}
		refused := errors.New("refused")
		tries := 0
		refuses := dialer(func(context.Context, string) (net.Conn, error) { tries++; return nil, refused })
		if _, err := refuses.patiently(t.Context(), "address"); !errors.Is(err, refused) || tries != 1 {
			t.Errorf("error %v after %d tries, want the first one's", err, tries)
		}
	})
}
