// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"regexp"
	"time"

	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// sayAgainAfter is how long a warning that was published is not published again with the same words.
const sayAgainAfter = 10 * time.Minute

// Told remembers the events that were published of one object, so that what happens over and over is said once. The recorder of
// Kubernetes does not: it tells events apart by the resource version of their object, which every write to the status changes.
//
// The zero value remembers nothing. Not safe for concurrent use.
type Told struct {
	// last is the newest event, warnings the newest of each reason.
	last     saying
	warnings map[string]saying
}

// saying is an event and when it was published.
type saying struct {
	event plan.Event
	at    time.Time
}

// IsNews says whether an event is to be published, and remembers that it was. A warning is news when the newest one of its reason says
// something else or is long past; anything else is news when it isn't just what was published last. That another checkpoint or another try
// has the same trouble is no news.
func (t *Told) IsNews(e plan.Event, now time.Time) bool {
	before := t.last
	if e.Type == plan.Warning {
		before = t.warnings[e.Reason]
	}
	if sameNews(before.event, e) && now.Sub(before.at) < sayAgainAfter {
		return false
	}
	t.last = saying{e, now}
	if e.Type == plan.Warning {
		if t.warnings == nil {
			t.warnings = map[string]saying{}
		}
		t.warnings[e.Reason] = t.last
	}
	return true
}

// number is a number by itself, such as that of a checkpoint or a time; names with digits in them are none.
var number = regexp.MustCompile(`\b[0-9]+\b`)

// sameNews says that two events tell the same. Of a trouble that lasts, the numbers in its text may change.
func sameNews(a, b plan.Event) bool {
	if a.Action == plan.Reconcile && b.Action == plan.Reconcile {
		a.Note, b.Note = number.ReplaceAllString(a.Note, "0"), number.ReplaceAllString(b.Note, "0")
	}
	return a == b
}

// publish tells people what happened.
func (s *scope) publish(events []plan.Event) {
	for _, e := range events {
		e.Note = plan.Cut(e.Note, maxNote)
		if s.mem.told.IsNews(e, s.now) {
			s.Recorder.Eventf(s.job, nil, string(e.Type), e.Reason, e.Action, "%s", e.Note)
		}
	}
}

// show has metrics and traces take up what the StreamJob is like.
func (s *scope) show() {
	s.Metrics.update(s.job)
	s.Traces.update(s.job)
}
