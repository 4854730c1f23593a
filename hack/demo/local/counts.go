// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/hack/demo/words"
)

// awaitCounts waits until the visible output accounts for all words.
func awaitCounts(ctx context.Context, out *words.Output, total int64) error {
	err := poll(ctx, "all words to be counted", func() (bool, error) {
		err := out.Read(ctx)
		return out.Counts.Total() >= total, err
	})
	if err != nil {
		return fmt.Errorf("%w: %d of %d words are in the output", err, out.Counts.Total(), total)
	}
	return nil
}

// compare says whether every count is equal; the last line of the demonstration.
func compare(ctx context.Context, s3 *server, want words.Counts) error {
	store, err := s3.open(ctx, "counts")
	if err != nil {
		return err
	}
	defer store.Close()
	out := words.NewOutput(store)
	if err := out.Read(ctx); err != nil {
		return err
	}
	differences := out.Compare(want)
	for _, d := range differences {
		sayf("%s", d)
	}
	if len(differences) > 0 {
		return errors.New("NOT EQUAL: the counts differ, or some were committed twice")
	}
	sayf("EQUAL: all %d counts are those of tr | sort | uniq -c, across a SIGKILL and a rescale, each committed once", len(want))
	return nil
}
