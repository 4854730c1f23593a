// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

const head = "apiVersion: config.weir.dev/v1alpha1\nkind: OperatorConfig\n"

// full sets everything.
const full = head + `
defaults:
  image: registry.example.com/weir:v3
  imagePullPolicy: Always
  stateBackend: {incremental: true}
  storage:
    s3: {endpoint: "https://s3.example.com", bucket: weir, prefix: prod, credentialsSecretRef: {name: weir-s3}}
  savepointPrefix: sp
  checkpointing: {interval: 30s, timeout: 5m, retainedCount: 3}
  restart: {fixedDelay: {attempts: 7, delay: 2s}}
  workerResources: {requests: {cpu: 500m}}
  tracing: {endpoint: "http://collector.observability:4317"}
  networkPolicy: Isolated
namespaces:
  team-a:
    storage: {s3: {bucket: team-a}}
    checkpointing: {interval: 5s}
    tracing: {endpoint: "https://traces.team-a:4317"}
`

func parse(t *testing.T, text string) *OperatorConfig {
	t.Helper()
	c, err := Parse(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestApply_SetsOnlyWhatIsUnset(t *testing.T) {
	tests := map[string]struct {
		namespace, spec, want string
		taken                 []string
	}{
		"nothing set": {
			"other", `{}`, `
stateBackend: {incremental: true}
storage: {s3: {endpoint: "https://s3.example.com", bucket: weir, prefix: prod, credentialsSecretRef: {name: weir-s3}}, savepoints: {prefix: sp}}
checkpointing: {interval: 30s, timeout: 5m, retention: {count: 3}}
restart: {fixedDelay: {attempts: 7, delay: 2s}}
workers: {resources: {requests: {cpu: 500m}}}
tracing: {endpoint: "http://collector.observability:4317"}
networkPolicy: Isolated`,
			[]string{"checkpointing.interval", "checkpointing.retention.count", "checkpointing.timeout", "networkPolicy", "restart", "stateBackend", "storage", "storage.savepoints.prefix", "tracing", "workers.resources"},
		},
		"a namespace of its own": {
			"team-a", `{restart: {none: {}}, stateBackend: {localRecovery: true}, networkPolicy: None}`, `
stateBackend: {localRecovery: true}
storage: {s3: {bucket: team-a}, savepoints: {prefix: sp}}
checkpointing: {interval: 5s}
restart: {none: {}}
workers: {resources: {requests: {cpu: 500m}}}
tracing: {endpoint: "https://traces.team-a:4317"}
networkPolicy: None`,
			[]string{"checkpointing.interval", "storage", "storage.savepoints.prefix", "tracing", "workers.resources"},
		},
		"checkpointing of its own": {"other", `
stateBackend: {type: Memory}
storage: {volume: {claimName: c, path: /data}, savepoints: {prefix: mine}}
checkpointing: {interval: 1s, timeout: 7s, retention: {onCancel: Delete}}
restart: {none: {}}
workers: {replicas: 2, resources: {limits: {cpu: "1"}}}
coordinator: {podTemplate: {containers: [{name: coordinator, env: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://mine:4317"}]}]}}
networkPolicy: None`, `
stateBackend: {type: Memory}
storage: {volume: {claimName: c, path: /data}, savepoints: {prefix: mine}}
checkpointing: {interval: 1s, timeout: 7s, retention: {onCancel: Delete, count: 3}}
restart: {none: {}}
workers: {replicas: 2, resources: {limits: {cpu: "1"}}}
coordinator: {podTemplate: {containers: [{name: coordinator, env: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://mine:4317"}]}]}}
networkPolicy: None`, []string{"checkpointing.retention.count"}},
		"a job without storage by choice": {
			"team-a", `{upgrade: {mode: Stateless}, stateBackend: {type: Memory}, restart: {none: {}}, workers: {resources: {limits: {cpu: "1"}}}, networkPolicy: None, tracing: {endpoint: "http://mine:4317"}, checkpointing: {interval: 1s}}`,
			`{upgrade: {mode: Stateless}, stateBackend: {type: Memory}, restart: {none: {}}, workers: {resources: {limits: {cpu: "1"}}}, networkPolicy: None, tracing: {endpoint: "http://mine:4317"}, checkpointing: {interval: 1s}}`, nil,
		},
	}
	c := parse(t, full)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var spec, want streamv1.StreamJobSpec
			for to, text := range map[*streamv1.StreamJobSpec]string{&spec: tc.spec, &want: tc.want} {
				if err := yaml.UnmarshalStrict([]byte(text), to); err != nil {
					t.Fatal(err)
				}
			}
			taken := c.For(tc.namespace).Apply(&spec)
			if diff := cmp.Diff(want, spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.taken, taken); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApply_SharesNothing(t *testing.T) {
	c := parse(t, full)
	var spec streamv1.StreamJobSpec
	c.For("x").Apply(&spec)
	spec.Storage.S3.Bucket, spec.Restart.FixedDelay.Attempts, spec.StateBackend.Incremental = "changed", 99, false
	spec.Workers.Resources.Requests[corev1.ResourceCPU] = spec.Workers.Resources.Requests[corev1.ResourceMemory]
	if diff := cmp.Diff(parse(t, full), c); diff != "" {
		t.Errorf("a StreamJob changes the configuration:\n%s", diff)
	}
}

func TestImageOf_IsThatOfTheFlagsWhenUnset(t *testing.T) {
	if image, policy := (Defaults{}).ImageOf("a", corev1.PullNever); image != "a" || policy != corev1.PullNever {
		t.Errorf("got %s, %s", image, policy)
	}
	if image, policy := (Defaults{Image: "b"}).ImageOf("a", corev1.PullNever); image != "b" || policy != "" {
		t.Errorf("got %s, %s", image, policy)
	}
}

func TestParse_Refuses(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"no kind":           {"defaults: {}", `it has apiVersion "" and kind ""`},
		"another version":   {"apiVersion: config.weir.dev/v2\nkind: OperatorConfig", "must have config.weir.dev/v1alpha1"},
		"no YAML":           {"{", "reading the configuration"},
		"an unknown field":  {head + "defaults: {intervall: 1s}", `unknown field "intervall"`},
		"twice":             {head + "defaults: {}\ndefaults: {}", "already set"},
		"a bad interval":    {head + "defaults: {checkpointing: {interval: 0.5ms}}", "defaults"},
		"negative":          {head + "defaults: {checkpointing: {timeout: -1s}}", "must not be negative"},
		"a bad bucket":      {head + "defaults: {storage: {s3: {bucket: A_B}}}", "spec.storage.s3.bucket"},
		"two storages":      {head + "defaults: {storage: {s3: {bucket: abc}, volume: {claimName: c, path: /d}}}", "exactly one"},
		"no claim":          {head + "defaults: {storage: {volume: {path: /d}}}", "defaults.storage.volume.claimName"},
		"no retention":      {head + "defaults: {checkpointing: {retainedCount: 101}}", "retention.count"},
		"two strategies":    {head + "namespaces: {a: {restart: {none: {}, fixedDelay: {}}}}", "namespaces.a: as fields of a StreamJob"},
		"no namespace":      {head + "namespaces: {A/b: {}}", `"A/b" is no name of a namespace`},
		"a pull policy":     {head + "defaults: {image: a, imagePullPolicy: Perhaps}", "Always, IfNotPresent and Never"},
		"a policy alone":    {head + "defaults: {imagePullPolicy: Always}", "set defaults.image"},
		"an image":          {head + "defaults: {image: 'a b'}", "is no image"},
		"a prefix upwards":  {head + "defaults: {savepointPrefix: /x}", "savepoints.prefix"},
		"a network policy":  {head + "defaults: {networkPolicy: Open}", "None and Isolated"},
		"credentials in it": {head + "defaults: {storage: {s3: {bucket: abc, secretKey: s}}}", `unknown field "secretKey"`},
		"too large":         {strings.Repeat("#", maxSize+1), "bytes"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(t.Context(), []byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// TestParse_TakesWhatIsDeployed reads the file of config/operatorconfig.
func TestParse_TakesWhatIsDeployed(t *testing.T) {
	text, err := os.ReadFile("../../config/operatorconfig/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &cm); err != nil {
		t.Fatal(err)
	}
	c := parse(t, cm.Data["config.yaml"])
	if diff := cmp.Diff(Defaults{}, c.For("any")); diff != "" {
		t.Errorf("what is installed sets something:\n%s", diff)
	}
}

func TestLive_KeepsTheLastGoodFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	logger := funcr.New(func(_, args string) { log.WriteString(args + "\n") }, funcr.Options{})
	if _, err := Open(t.Context(), filepath.Join(path, "config.yaml"), logger, nil); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Fatalf("a directory that does not exist is taken: %v", err)
	}
	write(head + "defaults: {bogus: 1}")
	if _, err := Open(t.Context(), path, logger, nil); err == nil || !strings.Contains(err.Error(), "bogus") {
		t.Fatalf("an invalid first file is taken: %v", err)
	}
	write(head + "defaults: {checkpointing: {interval: 7s}}")
	l, err := Open(t.Context(), path, logger, testclock.NewFakeClock(time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	interval := func() time.Duration { return l.For("a").Checkpointing.Interval.Duration }
	steps := []struct {
		name, text string
		remove     bool
		want       time.Duration
		valid      float64
		told       bool
	}{
		{"unchanged", head + "defaults: {checkpointing: {interval: 7s}}", false, 7 * time.Second, 1, false},
		{"changed", head + "defaults: {checkpointing: {interval: 8s}}", false, 8 * time.Second, 1, true},
		{"invalid", head + "defaults: {checkpointing: {interval: soon}}", false, 8 * time.Second, 0, false},
		{"still invalid", head + "defaults: {checkpointing: {interval: soon}}", false, 8 * time.Second, 0, false},
		{"gone", "", true, 8 * time.Second, 0, false},
		{"as before", head + "defaults: {checkpointing: {interval: 8s}}", false, 8 * time.Second, 1, false},
		{"for one namespace", head + "defaults: {checkpointing: {interval: 8s}}\nnamespaces: {a: {checkpointing: {interval: 9s}}}", false, 9 * time.Second, 1, true},
	}
	for _, s := range steps {
		if s.remove {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			write(s.text)
		}
		l.look(t.Context())
		told := len(l.Changes()) > 0
		if told {
			<-l.Changes()
		}
		if got := interval(); got != s.want || testutil.ToFloat64(l.valid) != s.valid || told != s.told {
			t.Errorf("%s: interval %s, valid %v, told %t; want %s, %v, %t", s.name, got, testutil.ToFloat64(l.valid), told, s.want, s.valid, s.told)
		}
	}
	if got := testutil.ToFloat64(l.reloads.WithLabelValues("taken")); got != 2 {
		t.Errorf("counted %v changes that were taken", got)
	}
	if got := testutil.ToFloat64(l.reloads.WithLabelValues("refused")); got != 2 {
		t.Errorf("counted %v changes that were refused, want one for each reason", got)
	}
	if !strings.Contains(log.String(), "Keeping the configuration that is in force") {
		t.Errorf("the log does not say it:\n%s", &log)
	}
}

// TestLive_TakesUpAFileThatComesLater has no defaults until the config map is made.
func TestLive_TakesUpAFileThatComesLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	l, err := Open(t.Context(), path, funcr.New(func(string, string) {}, funcr.Options{}), testclock.NewFakeClock(time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name, text, image string
		valid             float64
		told              bool
	}{
		{"not there", "", "", 1, false},
		{"still not there", "", "", 1, false},
		{"invalid", head + "defaults: {bogus: 1}", "", 0, false},
		{"taken away again", "", "", 1, false},
		{"there", head + "defaults: {image: new}", "new", 1, true},
		{"gone", "", "new", 0, false},
	}
	for _, s := range steps {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if s.text != "" {
			if err := os.WriteFile(path, []byte(s.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l.look(t.Context())
		told := len(l.Changes()) > 0
		if told {
			<-l.Changes()
		}
		if got := l.For("x").Image; got != s.image || testutil.ToFloat64(l.valid) != s.valid || told != s.told {
			t.Errorf("%s: image %q, valid %v, told %t; want %q, %v, %t", s.name, got, testutil.ToFloat64(l.valid), told, s.image, s.valid, s.told)
		}
	}
}

func TestLive_FollowsTheFileWhileItRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	c := testclock.NewFakeClock(time.Unix(0, 0))
	l, err := Open(t.Context(), path, funcr.New(func(string, string) {}, funcr.Options{}), c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Start(t.Context()) }()
	if err := os.WriteFile(path, []byte(head+"defaults: {image: new}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for told := false; !told; {
		c.Step(pollEvery)
		select {
		case <-l.Changes():
			told = true
		case err := <-ended:
			t.Fatalf("it ended with %v", err)
		case <-time.After(10 * time.Millisecond): // the clock is moved again if nobody had waited for it yet
		}
	}
	if got := l.For("x").Image; got != "new" {
		t.Errorf("image %q is in force", got)
	}
}

func TestLive_WithoutAFileHasNoDefaults(t *testing.T) {
	l, err := Open(t.Context(), "", funcr.New(func(string, string) {}, funcr.Options{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Defaults{}, l.For("x")); diff != "" {
		t.Error(diff)
	}
	if l.NeedLeaderElection() {
		t.Error("an operator that waits for its turn does not follow the file")
	}
}
