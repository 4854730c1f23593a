// SPDX-License-Identifier: Apache-2.0

package sweep

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// unfinished finds directories whose paths begin with prefix, in which there are files and no savepoint, nothing of it written since before. A savepoint
// that was given up is deleted by its coordinator; one that was being taken when that died is left to nobody.
func unfinished(ctx context.Context, s storage.Lister, prefix string, before time.Time) ([]Orphan, error) {
	dirs, complete := map[string]*Orphan{}, map[string]bool{}
	err := s.List(ctx, prefix, func(o storage.Object) error {
		name, _, ok := strings.Cut(o.Key[len(prefix):], "/")
		if !ok {
			return nil
		}
		dir := prefix + name + "/"
		d := dirs[dir]
		if d == nil {
			d = &Orphan{Path: dir, Reason: "the savepoint was never completed"}
			dirs[dir] = d
		}
		d.add(o)
		base := path.Base(o.Key)
		complete[dir] = complete[dir] || base == snapshot.ManifestName || base == snapshot.OwnerName
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the savepoints %s: %w", prefix, err)
	}
	var out []Orphan
	for dir, d := range dirs {
		if !complete[dir] && d.Modified.Before(before) {
			out = append(out, *d)
		}
	}
	slices.SortFunc(out, func(a, b Orphan) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}
