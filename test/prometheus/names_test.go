// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-stream/weir/controllers/streamjob"
)

// foreign are metrics of others, with the labels that are used: those of Prometheus itself and of the library that the operator is
// made with.
var foreign = map[string][]string{
	"up": {"job"},
	"controller_runtime_reconcile_errors_total":        {"controller"},
	"controller_runtime_reconcile_total":               {"controller", "result"},
	"controller_runtime_reconcile_time_seconds_bucket": {"controller", "le"},
}

// words are the functions and key words of expressions.
var words = []string{
	"time", "clamp_max", "clamp_min", "increase", "rate", "deriv", "histogram_quantile", "sum", "max", "count", "absent", "vector", "label_values",
	"by", "on", "and", "or", "unless",
}

// exported returns the metrics of operator and engine with their labels.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	all := maps.Clone(foreign)
	described := make(chan *prometheus.Desc, 100)
	streamjob.NewMetrics().Describe(described)
	close(described)
	pattern := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	for d := range described {
		m := pattern.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("reading the name of %s", d)
		}
		all[m[1]] = strings.Split(m[2], ",")
		all[m[1]+"_bucket"] = append(strings.Split(m[2], ","), "le")
	}
	// A test of the coordinator compares this page with what it serves.
	page, err := os.ReadFile(filepath.Join(root, "docs", "reference", "control-api.md"))
	if err != nil {
		t.Fatal(err)
	}
	engine := regexp.MustCompile("(?m)^\\| `(weir_\\w+)(?:\\{([^}]*)\\})?` \\| \\w+ \\|").FindAllStringSubmatch(string(page), -1)
	if len(engine) < 10 {
		t.Fatalf("found %d metrics of the engine", len(engine))
	}
	for _, m := range engine {
		all[m[1]] = append(strings.Split(m[2], ","), "namespace", "job")
	}
	return all
}

var (
	quoted    = regexp.MustCompile(`"[^"]*"`)
	grouping  = regexp.MustCompile(`\b(?:by|on|ignoring|without|group_left|group_right) ?\([^)]*\)`)
	selectors = regexp.MustCompile(`([a-zA-Z_:][\w:]*)\{([^}]*)\}`)
	number    = regexp.MustCompile(`\b\d[\w.]*`)
	name      = regexp.MustCompile(`[a-zA-Z_:$][\w:]*`)
	label     = regexp.MustCompile(`(\w+) *[=!]`)
)

// wrong says which names in an expression are not those of metrics or labels that there are.
func wrong(expr string, metrics map[string][]string) []string {
	var problems []string
	expr = grouping.ReplaceAllString(quoted.ReplaceAllString(expr, ""), "by")
	for _, m := range selectors.FindAllStringSubmatch(expr, -1) {
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if labels, ok := metrics[m[1]]; ok && !slices.Contains(labels, l[1]) {
				problems = append(problems, fmt.Sprintf("%s has no label %s", m[1], l[1]))
			}
		}
	}
	expr = number.ReplaceAllString(selectors.ReplaceAllString(expr, "$1"), "")
	for _, word := range name.FindAllString(expr, -1) {
		if _, ok := metrics[word]; !ok && !slices.Contains(words, word) {
			problems = append(problems, fmt.Sprintf("nobody exports %s", word))
		}
	}
	return problems
}

// expressions returns those of rules and dashboard by where they are, and adds what the rules record to the metrics.
func expressions(t *testing.T, metrics map[string][]string) map[string]string {
	t.Helper()
	all := map[string]string{}
	file, _ := rules(t)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			all["rule "+rule.Alert+rule.Record] = rule.Expr
			if rule.Record != "" {
				metrics[rule.Record] = []string{"namespace", "streamjob", "part"}
			}
		}
	}
	for where, expr := range dashboard(t) {
		all["dashboard, "+where] = expr
	}
	return all
}

// dashboard returns the expressions of the dashboard by where they are.
func dashboard(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config", "prometheus", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Type    string `json:"type"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
		Annotations struct {
			List []struct {
				Expr string `json:"expr"`
			} `json:"list"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	all, ids := map[string]string{}, map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for i, target := range p.Targets {
			all[fmt.Sprintf("panel %q, %d", p.Title, i)] = target.Expr
		}
	}
	for i, a := range board.Annotations.List {
		all[fmt.Sprintf("annotation %d", i)] = a.Expr
	}
	if len(all) < 15 {
		t.Errorf("found %d expressions in the dashboard", len(all))
	}
	return all
}

func TestExpressions_NameWhatIsExported(t *testing.T) {
	metrics := exported(t)
	for where, expr := range expressions(t, metrics) {
		for _, problem := range wrong(expr, metrics) {
			t.Errorf("%s: %s: %s", where, problem, expr)
		}
	}
}

func TestWrong_FindsMistakes(t *testing.T) {
	metrics := map[string][]string{"weir_a": {"x"}, "weir_b": nil}
	tests := map[string]struct {
		expr string
		want string
	}{
		"all right":              {`sum by (y) (rate(weir_a{x="1", x!~"2|b"}[5m])) / 1e3 > on (x, y) weir_b`, ""},
		"a metric":               {`rate(weir_aa[5m]) > 3`, "nobody exports weir_aa"},
		"a label":                {`weir_a{z=~"1"}`, "weir_a has no label z"},
		"a metric in a grouping": {`max(weir_b) by (x) or wier_a{x="a"}`, "nobody exports wier_a"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(wrong(tc.expr, metrics), ", "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
