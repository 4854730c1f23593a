// SPDX-License-Identifier: Apache-2.0

package task

import "github.com/weir-stream/weir/runtime/record"

// watermarks combines the watermarks of the input channels: that of the task is the lowest of
// the channels that aren't idle.
type watermarks struct {
	at     []int64
	isIdle []bool
	// out is the watermark of the task.
	out int64
	// sourceIdle says that a source said that it is idle.
	sourceIdle bool
	wasIdle    bool
}

func newWatermarks(channels int) watermarks {
	w := watermarks{
		at: make([]int64, channels), isIdle: make([]bool, channels), out: record.MinTime,
	}
	for i := range w.at {
		w.at[i] = record.MinTime
	}
	return w
}

// active ends the idleness of a channel.
func (w *watermarks) active(ch int) {
	if w.isIdle[ch] {
		w.isIdle[ch] = false
		w.wasIdle = false
	}
}

// advance takes a watermark, MaxTime for the end of the channel, and says whether that of the task rose.
func (w *watermarks) advance(ch int, t int64) (int64, bool) {
	w.active(ch)
	w.at[ch] = max(w.at[ch], t)
	return w.combine()
}

// idle marks a channel as idle: the watermark of the task may rise, or all of it be idle now.
func (w *watermarks) idle(ch int) (t int64, advanced, allIdle bool) {
	w.isIdle[ch] = true
	for i := range w.at {
		if !w.isIdle[i] && w.at[i] < record.MaxTime {
			t, advanced = w.combine()
			return t, advanced, false
		}
	}
	first := !w.wasIdle
	w.wasIdle = true
	return 0, false, first
}

func (w *watermarks) combine() (int64, bool) {
	low, dormant := record.MaxTime, false
	for i, t := range w.at {
		if !w.isIdle[i] {
			low = min(low, t)
		} else if t < record.MaxTime {
			dormant = true
		}
	}
	if low <= w.out || low == record.MaxTime && dormant {
		return 0, false
	}
	w.out = low
	return low, true
}
