// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// unitTests is the file of promtool's tests.
const unitTests = "rules_test.yaml"

func TestRules_DoAsTheirTestsSay(t *testing.T) {
	promtool := tool(t, "promtool")
	_, text := rules(t)
	tests, err := os.ReadFile(filepath.Join("testdata", unitTests))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"rules.yaml": text, unitTests: tests} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"}, {"test", "rules", unitTests}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, output)
		}
		t.Logf("promtool %v:\n%s", args, output)
	}
}

func TestRules_EachAlertIsSeenToFireAndNotTo(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", unitTests))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string `json:"alertname"`
				ExpAlerts []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, a := range test.AlertRuleTest {
			fires[a.Alertname] = fires[a.Alertname] || len(a.ExpAlerts) > 0
			silent[a.Alertname] = silent[a.Alertname] || len(a.ExpAlerts) == 0
		}
	}
	all, _ := rules(t)
	alerts := 0
	for _, group := range all.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			alerts++
			if !fires[rule.Alert] || !silent[rule.Alert] {
				t.Errorf("%s: seen to fire %v, not to fire %v; testdata/%s needs both", rule.Alert, fires[rule.Alert], silent[rule.Alert], unitTests)
			}
		}
	}
	if alerts < 10 {
		t.Errorf("found %d alerts", alerts)
	}
}
