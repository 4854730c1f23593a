// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// damaged says of an error of reading a manifest that the snapshot is lost: it isn't there, or isn't what was written. Storage that can't be
// reached or read loses nothing.
func damaged(err error) bool {
	_, corrupt := errors.AsType[*snapshot.CorruptError](err)
	return corrupt || errors.Is(err, storage.ErrNotFound)
}

// readIntact reads the manifest of the state to start from. When that is damaged and the job falls back, it is that of an older checkpoint, as the
// machine will choose it.
func (c *Coordinator) readIntact(ctx context.Context, p *prepared, from snapshot.Newest) *startingState {
	s := &startingState{Newest: from}
	found := map[int64]string{}
	for {
		s.manifest, _, s.err = readManifest(ctx, c.o.Store, s.Path, s.ManifestCRC32C)
		cp := p.cfg.Checkpointing
		if !damaged(s.err) || s.ID == 0 || p.found == nil || cp == nil || cp.OnCorruption != contract.FallBackOnCorruption {
			return s
		}
		found[s.ID] = s.err.Error()
		next, out, err := p.found.Head.FallBack(found)
		if err != nil {
			s.err = fmt.Errorf("%w: falling back: %w", s.err, err)
			return s
		}
		s.Newest, s.leftOut = next, out
	}
}

// leftOutWarnings says what a restore fell back behind.
func leftOutWarnings(out []snapshot.LeftOut) []string {
	var text []string
	for _, l := range out {
		text = append(text, fmt.Sprintf("checkpoint %d is damaged and was left out: what came after the checkpoint before it is processed again: %s", l.Checkpoint, l.Reason))
	}
	return text
}

// unreadableWarnings says which checkpoints are kept that can't be restored from.
func unreadableWarnings(ids []int64) []string {
	var text []string
	for _, id := range ids {
		text = append(text, fmt.Sprintf("the manifest of checkpoint %d, which is still kept, is damaged: it can't be restored from, "+
			"and the shared files that it may refer to are kept until it is subsumed", id))
	}
	return text
}
