// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestDescribeUpgrade_NamesTheTimeOfItsPods(t *testing.T) {
	u := &streamv1.UpgradeReport{FromRevision: "a", ToRevision: "b", CheckMillis: 1200, WarmMillis: 2600, SaveMillis: 340, PodsMillis: 1, RestoreMillis: 450}
	if got, want := describeUpgrade(noon, u), "a to b: check 1.2s, warm 2.6s, save 340ms, pods 1ms, restore 450ms"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	u.WarmMillis = 0
	if got, want := describeUpgrade(noon, u), "a to b: check 1.2s, save 340ms, pods 1ms, restore 450ms"; got != want {
		t.Errorf("without surge: got  %s\nwant %s", got, want)
	}
}
