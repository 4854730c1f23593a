// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

// checkChannels reads one file of channel state in full. The error is one of storage, or says that a newer version wrote it.
func (r fileReader) checkChannels(ctx context.Context, f snapshot.ChannelFile) ([]Damage, error) {
	d := Damage{Object: r.dir + f.Path, Operator: f.Operator, Subtask: f.Subtask}
	over, err := r.store.GetRange(ctx, d.Object, f.Size, 1)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		d.Detail = "it is missing"
		return []Damage{d}, nil
	case err != nil:
		return nil, err
	case len(over) > 0:
		d.From, d.Detail = f.Size, fmt.Sprintf("it goes on after its %d bytes", f.Size)
		return []Damage{d}, nil
	}
	var ds []Damage
	for _, s := range f.Sections {
		b, err := r.store.GetRange(ctx, d.Object, s.Offset, s.Length)
		if err != nil {
			return nil, err
		}
		err = snapshot.DecodeChannel(s, b, func([]byte) error { return nil })
		if c, ok := errors.AsType[*state.CorruptError](err); ok {
			d.From, d.To = s.Offset, s.Offset+s.Length
			d.Detail = fmt.Sprintf("%s, subtask %d: %s", c.Section, s.FromSubtask, c.Reason)
			ds = append(ds, d)
		} else if err != nil {
			return nil, err
		}
	}
	return ds, nil
}
