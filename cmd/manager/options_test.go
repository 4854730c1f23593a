// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-stream/weir/controllers/operatorconfig"
	"github.com/weir-stream/weir/controllers/streamjob"
)

func TestParseOptions_Refuses(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no image":           {nil, "--engine-image"},
		"a bad pull policy":  {[]string{"--engine-image=x", "--engine-image-pull-policy=Sometimes"}, "Always, IfNotPresent and Never"},
		"no concurrency":     {[]string{"--engine-image=x", "--concurrency=0"}, "--concurrency"},
		"less than none":     {[]string{"--engine-image=x", "--concurrency-per-namespace=-1"}, "--concurrency-per-namespace"},
		"a word":             {[]string{"--engine-image=x", "help"}, "only flags"},
		"too much verbosity": {[]string{"--engine-image=x", "--v=9"}, "--v"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseOptions(tc.args, func(string) string { return "" })
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to name %q", err, tc.want)
			}
		})
	}
}

func TestParseOptions_TakesTheImageFromTheEnvironment(t *testing.T) {
	o, err := parseOptions([]string{"--namespaces=a, b,,a"}, func(name string) string { return map[string]string{engineImageVariable: "weir:v1"}[name] })
	if err != nil {
		t.Fatal(err)
	}
	if o.engineImage != "weir:v1" || o.concurrency != 8 {
		t.Errorf("got %+v", o)
	}
	if diff := cmp.Diff([]string{"a", "b"}, o.namespaceList()); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}

func TestReference_NamesEveryFlagAndMetric(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/manager.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	flags(&options{}, func(string) string { return "" }).VisitAll(func(f *flag.Flag) { names = append(names, "`--"+f.Name+"`") })
	descriptions := make(chan *prometheus.Desc, 100)
	streamjob.NewMetrics().Describe(descriptions)
	config, err := operatorconfig.Open(t.Context(), "", logr.Discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	config.Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())
		if name == nil {
			t.Fatalf("reading the name of %s", d)
		}
		names = append(names, "`"+name[1]+"`")
	}
	if len(names) < 15 {
		t.Errorf("found only %v", names)
	}
	for _, name := range names {
		if !strings.Contains(string(page), "| "+name+" |") {
			t.Errorf("docs/reference/manager.md does not describe %s", name)
		}
	}
}

func TestOptions_OneNamespaceNeverHasAllWorkers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want int
	}{
		"by default":          {nil, 4},
		"an odd number":       {[]string{"--concurrency=5"}, 3},
		"as it says":          {[]string{"--concurrency-per-namespace=7"}, 7},
		"several namespaces":  {[]string{"--namespaces=a,b"}, 4},
		"there is only one":   {[]string{"--namespaces=a"}, 0},
		"one, and a limit":    {[]string{"--namespaces=a", "--concurrency-per-namespace=2"}, 2},
		"a single worker has": {[]string{"--concurrency=1"}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := parseOptions(append(tc.args, "--engine-image=x"), func(string) string { return "" })
			if err != nil {
				t.Fatal(err)
			}
			if got := o.atMost(); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
