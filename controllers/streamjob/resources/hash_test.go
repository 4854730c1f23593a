// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// What a change of a field does.
const (
	restarts = "restarts the job"
	live     = "reaches the running job"
	neither  = "does neither"
)

// effects says what a change of each field of the spec does. A path ends where its whole subtree has one effect.
var effects = map[string]string{
	"dataflow":                             restarts,
	"program.image":                        restarts,
	"program.imagePullPolicy":              restarts,
	"program.args":                         restarts,
	"state":                                neither,
	"parallelism":                          restarts,
	"maxParallelism":                       restarts,
	"disableChaining":                      restarts,
	"workers.replicas":                     restarts,
	"workers.slotsPerWorker":               restarts,
	"workers.resources.requests":           restarts,
	"workers.resources.limits":             restarts,
	"workers.lostNodeTimeout":              restarts,
	"workers.podTemplate":                  restarts,
	"coordinator.podTemplate":              restarts,
	"networkPolicy":                        neither,
	"tracing.endpoint":                     restarts,
	"coordinator.resources.requests":       restarts,
	"coordinator.resources.limits":         restarts,
	"checkpointing.interval":               live,
	"checkpointing.mode":                   restarts,
	"checkpointing.timeout":                live,
	"checkpointing.minPause":               live,
	"checkpointing.maxConcurrent":          live,
	"checkpointing.tolerableFailures":      live,
	"checkpointing.retention.count":        live,
	"checkpointing.retention.onCancel":     live,
	"storage.s3.endpoint":                  restarts,
	"storage.s3.bucket":                    restarts,
	"storage.s3.prefix":                    restarts,
	"storage.s3.region":                    restarts,
	"storage.s3.credentialsSecretRef.name": restarts,
	"storage.volume.claimName":             restarts,
	"storage.volume.path":                  restarts,
	"storage.savepoints.prefix":            restarts,
	"restart":                              live,
	"checkpointing.alignment.mode":         restarts,
	"checkpointing.alignment.timeout":      restarts,
	"checkpointing.onCorruption":           restarts,
	"stateBackend.type":                    restarts,
	"stateBackend.incremental":             restarts,
	"stateBackend.memoryBudget":            restarts,
	"stateBackend.localRecovery":           restarts,
	"upgrade.mode":                         neither,
	"upgrade.allowNonRestoredState":        live,
	"upgrade.savepointTimeout":             neither,
	"savepoint.trigger":                    neither,
	"savepoint.target":                     neither,
	"restoreFrom.path":                     live,
	"restoreFrom.allowDrained":             live,
	"restoreFrom.snapshot":                 live,
	"restoreFrom.mode":                     live,
	"savepoint.schedule":                   neither,
	"savepoint.retention.count":            neither,
	"savepoint.retention.maxAge":           neither,
	"deletionPolicy":                       neither,
	"deletion":                             neither,
	"restartNonce":                         neither,
	"checkpoint.trigger":                   neither,
	"upgrade.discardState":                 neither,
	"upgrade.surge":                        neither,
	"upgrade.rollback":                     neither,
}

// leaf is one field, or element, of a spec.
type leaf struct {
	path  string
	value reflect.Value
}

// leaves returns all fields of a spec in which nothing is nil or empty.
func leaves(path string, v reflect.Value) []leaf {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem().NumField() == 0 ||
			v.Type() == reflect.TypeFor[*resource.Quantity]() || v.Type() == reflect.TypeFor[*kruntime.RawExtension]() {
			return []leaf{{path, v}}
		}
		return leaves(path, v.Elem())
	case reflect.Slice:
		return leaves(path, v.Index(0))
	case reflect.Struct:
		if _, ok := reflect.TypeAssert[metav1.Duration](v); ok {
			return []leaf{{path, v}}
		}
		var out []leaf
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			out = append(out, leaves(strings.TrimPrefix(path+"."+name, "."), v.Field(i))...)
		}
		return out
	default:
		return []leaf{{path, v}}
	}
}

// fill sets every field to something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*resource.Quantity]() {
			v.Set(reflect.ValueOf(resource.NewQuantity(1<<30, resource.BinarySI)))
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[metav1.Duration]() {
			v.Set(reflect.ValueOf(metav1.Duration{Duration: time.Minute}))
			return
		}
		if v.Type() == reflect.TypeFor[kruntime.RawExtension]() {
			v.Set(reflect.ValueOf(kruntime.RawExtension{Raw: []byte(`{"nodeAffinity":{}}`)}))
			return
		}
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Map:
		v.Set(mapOf(v.Type(), 1))
	default:
		change(v)
	}
}

// mapOf returns a map with one element, whose value is n.
func mapOf(t reflect.Type, n int) reflect.Value {
	m := reflect.MakeMap(t)
	value := reflect.ValueOf(*resource.NewQuantity(int64(n), resource.DecimalSI))
	if t.Elem().Kind() == reflect.String {
		value = reflect.ValueOf(strconv.Itoa(n)).Convert(t.Elem())
	}
	m.SetMapIndex(reflect.ValueOf("cpu").Convert(t.Key()), value)
	return m
}

// change gives a leaf another value.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 7)
	case reflect.Struct:
		d := v.Interface().(metav1.Duration)
		v.Set(reflect.ValueOf(metav1.Duration{Duration: d.Duration + time.Second}))
	case reflect.Map:
		v.Set(mapOf(v.Type(), 7))
	case reflect.Pointer:
		v.SetZero()
	default:
		panic(fmt.Sprintf("a field of kind %s: teach the test about it", v.Kind()))
	}
}

func filled() *streamv1.StreamJobSpec {
	var spec streamv1.StreamJobSpec
	fill(reflect.ValueOf(&spec).Elem())
	return &spec
}

// TestHashes_CoverEachFieldOnce fails for a field that nobody has decided about.
func TestHashes_CoverEachFieldOnce(t *testing.T) {
	open := maps.Clone(effects)
	for i, l := range leaves("", reflect.ValueOf(filled()).Elem()) {
		key := l.path
		for effects[key] == "" && strings.Contains(key, ".") {
			key = key[:strings.LastIndex(key, ".")]
		}
		want, ok := effects[key]
		if !ok {
			t.Errorf("spec.%s is new: decide whether a change of it restarts the job", l.path)
			continue
		}
		delete(open, key)
		before, after := filled(), filled()
		change(leaves("", reflect.ValueOf(after).Elem())[i].value)
		if got := effectOf(before, after); got != want {
			t.Errorf("a change of spec.%s %s, want that it %s", l.path, got, want)
		}
	}
	for key := range open {
		t.Errorf("there is no field spec.%s", key)
	}
}

func effectOf(before, after *streamv1.StreamJobSpec) string {
	r, p := RevisionHash(before) != RevisionHash(after), PolicyHash(before) != PolicyHash(after)
	switch {
	case r && p:
		return "does both"
	case r:
		return restarts
	case p:
		return live
	default:
		return neither
	}
}

func TestHashes_OfUnsetAndDefaultAreTheSame(t *testing.T) {
	tests := map[string]func(*streamv1.StreamJobSpec){
		"parallelism": func(s *streamv1.StreamJobSpec) { s.Parallelism = 1 },
		"workers":     func(s *streamv1.StreamJobSpec) { s.Workers = &streamv1.Workers{Replicas: 1, SlotsPerWorker: 1} },
		"empty resources": func(s *streamv1.StreamJobSpec) {
			s.Workers = &streamv1.Workers{Replicas: 1, Resources: &streamv1.Resources{Limits: corev1.ResourceList{}}}
			s.Coordinator = &streamv1.Coordinator{}
		},
		"alignment": func(s *streamv1.StreamJobSpec) {
			s.Checkpointing.Alignment = &streamv1.Alignment{Mode: streamv1.AlignedMode}
		},
		"on corruption":   func(s *streamv1.StreamJobSpec) { s.Checkpointing.OnCorruption = streamv1.FailOnCorruption },
		"state backend":   func(s *streamv1.StreamJobSpec) { s.StateBackend = &streamv1.StateBackend{Type: streamv1.MemoryBackend} },
		"checkpoint mode": func(s *streamv1.StreamJobSpec) { s.Checkpointing.Mode = streamv1.ExactlyOnce },
		"region":          func(s *streamv1.StreamJobSpec) { s.Storage.S3.Region = "us-east-1" },
		"savepoint prefix": func(s *streamv1.StreamJobSpec) {
			s.Storage.Savepoints = &streamv1.SavepointStorage{Prefix: "savepoints"}
		},
		"lost node timeout": func(s *streamv1.StreamJobSpec) {
			s.Workers = &streamv1.Workers{LostNodeTimeout: metav1.Duration{Duration: 30 * time.Second}}
		},
		"state": func(s *streamv1.StreamJobSpec) { s.State = streamv1.StateRunning },
	}
	base := func() *streamv1.StreamJobSpec {
		return &streamv1.StreamJobSpec{
			Program:       &streamv1.Program{Image: "i"},
			Checkpointing: &streamv1.Checkpointing{Interval: metav1.Duration{Duration: time.Second}},
			Storage:       &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "weir"}},
		}
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			spec := base()
			set(spec)
			before := spec.DeepCopy()
			if got := effectOf(base(), spec); got != neither {
				t.Errorf("writing the default out %s", got)
			}
			if diff := cmp.Diff(before, spec); diff != "" {
				t.Errorf("hashing changed the spec:\n%s", diff)
			}
		})
	}
}

func TestHashes_OfQuantitiesDoNotDependOnHowTheyAreWritten(t *testing.T) {
	with := func(cpu string) *streamv1.StreamJobSpec {
		return &streamv1.StreamJobSpec{Workers: &streamv1.Workers{Resources: &streamv1.Resources{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
		}}}
	}
	if RevisionHash(with("1000m")) != RevisionHash(with("1")) {
		t.Error("1000m and 1 differ")
	}
	if RevisionHash(with("1001m")) == RevisionHash(with("1")) {
		t.Error("1001m and 1 are the same")
	}
}

func TestHashes_TellLargeNumbersApart(t *testing.T) {
	with := func(rows int64) *streamv1.StreamJobSpec {
		return &streamv1.StreamJobSpec{Dataflow: &streamv1.Dataflow{Operators: []streamv1.Operator{
			{Name: "numbers", Generator: &streamv1.GeneratorSource{Rows: rows}},
		}}}
	}
	if RevisionHash(with(1<<53)) == RevisionHash(with(1<<53+1)) {
		t.Error("numbers that only differ beyond the precision of a float are the same")
	}
}

func TestHashes_SwitchingCheckpointsOnRestarts(t *testing.T) {
	off, on := &streamv1.StreamJobSpec{}, &streamv1.StreamJobSpec{Checkpointing: &streamv1.Checkpointing{}}
	if RevisionHash(off) == RevisionHash(on) {
		t.Error("the same revision with and without checkpoints")
	}
}

// TestHashes_StayWhatTheyAre pins hashes: an operator that gives others restarts every job when it is installed.
func TestHashes_StayWhatTheyAre(t *testing.T) {
	want := map[string][2]string{
		"local":   {"4404e0cd0f", "48529f2285"},
		"minimal": {"7417651c6e", "44136fa355"},
		"program": {"081fe903c8", "44136fa355"},
		"s3":      {"24a4890913", "48529f2285"},
		"volume":  {"d7ce8a4d98", "d88e7ef7ba"},
	}
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		spec := samples[name]().Spec
		if diff := cmp.Diff(want[name], [2]string{RevisionHash(&spec), PolicyHash(&spec)}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
