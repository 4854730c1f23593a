// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig/rulestest"
)

// hostileLimit is the longest that the API server may take to make up its mind about a hostile StreamJob.
const hostileLimit = 20 * time.Second

// attempt creates a StreamJob in a namespace of its own and returns what the API server said, and how long it took.
func attempt(t *testing.T, text string) (time.Duration, error) {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	o.SetNamespace(makeNamespace(t))
	start := time.Now()
	err := admin.Create(t.Context(), o, client.FieldValidation("Strict"))
	return time.Since(start), err
}

// TestAPI_RefusesPathsThatLeadElsewhere covers names, prefixes, targets and paths.
func TestAPI_RefusesPathsThatLeadElsewhere(t *testing.T) {
	t.Parallel()
	s3 := "storage: {s3: {bucket: bkt}}"
	paths := map[string]string{
		"upwards": "a/../../b", "only upwards": "..", "here": "a/./b", "empty part": "a//b", "absolute": "/etc", "ends with a slash": "a/",
		"NUL": `a\x00b`, "a line break": `a\nb`, "an escape": `a\x1b[0m`, "a backslash": `..\\x`, "a space": "a b", "a non-breaking control": `a\u0085b`,
	}
	fields := map[string]func(path string) []string{
		"savepoint.target":  func(p string) []string { return []string{s3, `savepoint: {trigger: a, target: "` + p + `"}`} },
		"storage.s3.prefix": func(p string) []string { return []string{`storage: {s3: {bucket: bkt, prefix: "` + p + `"}}`} },
		"storage.savepoints.prefix": func(p string) []string {
			return []string{`storage: {s3: {bucket: bkt}, savepoints: {prefix: "` + p + `"}}`}
		},
		"storage.s3.credentialsSecretRef.name": func(p string) []string {
			return []string{`storage: {s3: {bucket: bkt, credentialsSecretRef: {name: "` + p + `"}}}`}
		},
		"storage.s3.bucket": func(p string) []string { return []string{`storage: {s3: {bucket: "` + p + `"}}`} },
	}
	for field, spec := range fields {
		for name, path := range paths {
			t.Run(field+"/"+name, func(t *testing.T) {
				t.Parallel()
				if _, err := attempt(t, rulestest.WithSpec(spec(path)...)); !apierrors.IsInvalid(err) {
					t.Errorf("%s: %q: the API server said %v", field, path, err)
				}
			})
		}
	}
	for _, name := range []string{"..", "a/b", "A", "a..b", "-a", "a\u0301", strings.Repeat("a", 41)} {
		if _, err := attempt(t, strings.Replace(rulestest.WithSpec(), "name: j}", fmt.Sprintf("name: %q}", name), 1)); !apierrors.IsInvalid(err) {
			t.Errorf("name %q: the API server said %v", name, err)
		}
	}
	// A secret is named without a namespace, so it is always one of the StreamJob's own.
	_, err := attempt(t, rulestest.WithSpec("storage: {s3: {bucket: bkt, credentialsSecretRef: {name: a, namespace: kube-system}}}"))
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "credentialsSecretRef.namespace") {
		t.Errorf("a secret of another namespace: the API server said %v", err)
	}
}

// many joins n elements that are made from their number.
func many(n int, element func(i int) string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = element(i)
	}
	return strings.Join(list, ", ")
}

// TestAPI_IsNotHeldUpByHostileStreamJobs sends what is large, deep, or expensive to check.
func TestAPI_IsNotHeldUpByHostileStreamJobs(t *testing.T) {
	mega := strings.Repeat("x", 1<<20)
	tests := map[string]string{
		"an expression of 1 MB":         rulestest.WithOperators(rulestest.In, "{name: m, inputs: [in], filter: {expression: '"+mega+"'}}", "{name: out, inputs: [m], log: {}}"),
		"a name of 1 MB":                rulestest.WithOperators("{name: " + mega + ", generator: {rows: 1}}"),
		"100000 operators":              rulestest.WithOperators(many(100000, func(i int) string { return fmt.Sprintf("{name: o%d, generator: {rows: 1}}", i) })),
		"a union of 20000 inputs":       rulestest.WithOperators(rulestest.In, "{name: u, inputs: ["+many(20000, func(i int) string { return fmt.Sprintf("i%d", i) })+"], union: {}}"),
		"a prefix of 500 kB of slashes": rulestest.WithSpec("storage: {s3: {bucket: bkt, prefix: a" + strings.Repeat("/a", 250<<10) + "}}"),
		"an environment of 10000":       rulestest.WithSpec("workers: {podTemplate: {containers: [{name: worker, env: [" + many(10000, func(i int) string { return fmt.Sprintf("{name: e%d, value: v}", i) }) + "]}]}}"),
		"a duration without end":        rulestest.WithSpec("checkpointing: {interval: " + strings.Repeat("1h", 100000) + "}"),
		"fields nobody knows":           rulestest.Head + "spec: {" + many(20000, func(i int) string { return fmt.Sprintf("f%d: 1", i) }) + "}",
		"restart 100 kB of digits":      rulestest.WithSpec("restart: {exponentialDelay: {multiplier: '" + strings.Repeat("9", 100<<10) + "'}}"),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			took, err := attempt(t, text)
			if err == nil {
				t.Error("it is taken")
			}
			if took > hostileLimit {
				t.Errorf("it took %s", took)
			}
			said := "nothing"
			if err != nil {
				said = err.Error()
			}
			t.Logf("%d bytes, refused in %s: %.120s", len(text), took.Round(time.Millisecond), said)
		})
	}
	// The largest that it takes is checked in time, too.
	text := rulestest.WithOperators(
		append([]string{rulestest.In}, strings.Split(many(60, func(i int) string {
			from := "in"
			if i > 0 {
				from = fmt.Sprintf("o%d", i-1)
			}
			return fmt.Sprintf("{name: o%d, inputs: [%s], filter: {expression: '%s'}}", i, from, "1 == 1"+strings.Repeat(" ", 4000))
		}), ", {")...)...)
	text = strings.ReplaceAll(text, ",\n  name:", ",\n  {name:")
	took, err := attempt(t, text)
	if err != nil && !apierrors.IsInvalid(err) {
		t.Errorf("%d bytes: %v", len(text), err)
	}
	if took > hostileLimit {
		t.Errorf("%d bytes took %s", len(text), took)
	}
}

// TestOperator_BoundsWhatOnlyItSees takes StreamJobs that the API server accepts and that cannot run: the operator says so and goes on with others.
func TestOperator_BoundsWhatOnlyItSees(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("workers: {podTemplate: {affinity: {nodeAffinity: [1, 2], bogus: "+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+"}}}", rulestest.Flow)
	makeNamed(t, types.NamespacedName{Namespace: c.namespace, Name: "other"}, rulestest.Flow)
	deadline := time.Now().Add(patience)
	for {
		job := c.job()
		said := ""
		for _, condition := range job.Status.Conditions {
			said += condition.Reason + ": " + condition.Message + "\n"
		}
		if strings.Contains(said, "InvalidSpec") && strings.Contains(said, "spec.workers.podTemplate.affinity") {
			for _, condition := range job.Status.Conditions {
				if len(condition.Message) > 2048 {
					t.Errorf("condition %s says %d bytes", condition.Type, len(condition.Message))
				}
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the operator says\n%s", said)
		}
		if err := pause(t, held); err != nil {
			t.Fatal(err)
		}
	}
	other := &streamv1.StreamJob{}
	c.eventually("the other job runs", func() error {
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "other"}, other); err != nil {
			return err
		}
		return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(other)
	})
	if got := c.children(&appsv1.DeploymentList{}); !slices.Equal(got, []string{"other-1-coordinator"}) {
		t.Errorf("there are %v", got)
	}
}

// pause waits a moment for others.
func pause(t *testing.T, d time.Duration) error {
	t.Helper()
	select {
	case <-t.Context().Done():
		return errors.New("the test has ended")
	case <-time.After(d):
		return nil
	}
}
