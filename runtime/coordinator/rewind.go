// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// goesBack says that the claim to come is one that goes back to an older snapshot: the first of its grant.
func (p *prepared) goesBack() bool {
	return p.cfg.RewindTo != "" && (p.found == nil || p.grant > p.found.Head.Epoch.Grant)
}

// goBack prepares for the head as it will be once the claim went back. Whether that may be is decided by the claim, on the head as it is then.
func (p *prepared) goBack() error {
	if !p.goesBack() {
		return nil
	}
	back := Found{JobID: p.cfg.JobID}
	if p.found != nil {
		back = Found{JobID: p.found.JobID, Head: p.found.Head.Clone()}
	}
	if _, err := back.Head.RewindTo(p.cfg.RewindTo, true); err != nil {
		return err
	}
	p.found = &back
	return nil
}

// tellRewind says what the head says of going back.
func (c *Coordinator) tellRewind(r *contract.AgentResult, p *prepared) error {
	if !p.goesBack() {
		return nil
	}
	if p.found == nil {
		return &snapshot.NotNamedError{Path: p.cfg.RewindTo}
	}
	h := &p.found.Head
	c.tell(r, h)
	back, err := h.Rewind(p.cfg.RewindTo)
	if err != nil {
		return err
	}
	r.Rewind = c.describeRewind(h, &back)
	return back.Safe()
}

func (c *Coordinator) describeRewind(h *snapshot.Head, back *snapshot.Rewind) *contract.Rewind {
	return &contract.Rewind{
		Snapshot: *c.describeSnapshot(h, back.Newest), Safe: back.Safe() == nil, Newer: back.Newer,
		SinksMayHaveCommitted: back.Committed > 0, SourcesMayHaveTrimmed: back.Trimmed > 0,
	}
}
