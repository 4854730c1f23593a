// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// beforeLeapYear is a time such that each day of a calendar comes within the five years after it that a schedule looks ahead.
var beforeLeapYear = time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC)

// ParseSchedule reads the five fields of spec.savepoint.schedule. Times are in UTC, whatever the machine's zone.
func ParseSchedule(text string) (cron.Schedule, error) {
	const remedy = `give minute, hour, day of month, month and day of week, such as "0 3 * * *"; times are in UTC`
	if strings.ContainsAny(text, "=@") {
		return nil, fmt.Errorf("%q is no schedule: %s", text, remedy)
	}
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no schedule: %w: %s", text, err, remedy)
	}
	if s.Next(beforeLeapYear).IsZero() {
		return nil, fmt.Errorf("%q is no schedule: there is no such day: %s", text, remedy)
	}
	return s, nil
}

// checkSchedule says what is wrong with the schedule of savepoints.
func checkSchedule(job *streamv1.StreamJob) []string {
	if job.Spec.Savepoint == nil || job.Spec.Savepoint.Schedule == "" {
		return nil
	}
	if _, err := ParseSchedule(job.Spec.Savepoint.Schedule); err != nil {
		return []string{"spec.savepoint.schedule: Invalid value: " + err.Error()}
	}
	return nil
}
