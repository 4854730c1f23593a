// SPDX-License-Identifier: Apache-2.0

package snapshot

import "time"

// HeadName is the name of the head in the directory of a job.
const HeadName = "head.json"

// CommitGrace is the age, since its trigger, beyond which a coordinator doesn't commit a snapshot any more. Objects that no head leads to may
// be deleted only when they are older.
const CommitGrace = 24 * time.Hour
