// SPDX-License-Identifier: Apache-2.0

// Command check reads what the ledger job wrote and says whether it is exactly once.
//
//	go run ./examples/ledger/check OUTPUT [STORAGE]
//
// OUTPUT is where the sink wrote and STORAGE the storage of the job, each a directory or s3://bucket/prefix. With
// STORAGE it also checks that no start but the first was empty. The exit code is 1 if anything is wrong.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/weir-stream/weir/examples/ledger/checker"
	"github.com/weir-stream/weir/runtime/storage/open"
)

func main() {
	if err := check(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("want OUTPUT and perhaps STORAGE, got %d arguments", len(args))
	}
	out, err := open.URL(ctx, args[0])
	if err != nil {
		return err
	}
	defer out.Close()
	r, err := checker.Output(ctx, out)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "output:", r)
	if err := r.Err(); err != nil {
		return err
	}
	if len(args) == 2 {
		if err := history(ctx, args[1]); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stdout, "every number of every key is there exactly once")
	return nil
}

func history(ctx context.Context, where string) error {
	s, err := open.URL(ctx, where)
	if err != nil {
		return err
	}
	defer s.Close()
	starts, err := checker.History(ctx, s, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "history: %d starts, none empty after the first with state\n", starts)
	return nil
}
