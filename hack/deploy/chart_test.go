// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

func loadChart(t *testing.T) *helmchart.Chart {
	t.Helper()
	c, err := loader.Load(filepath.Join(root, filepath.FromSlash(chartFolder)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// helm returns the objects that the chart renders to with values.
func helm(t *testing.T, namespace string, values map[string]any) ([]object, error) {
	t.Helper()
	c := loadChart(t)
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return nil, err
	}
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "weir", Namespace: namespace, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	var objects []object
	for name, text := range files {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		for document := range strings.SplitSeq(text, "\n---\n") {
			var o object
			if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			if len(o) > 0 {
				objects = append(objects, o)
			}
		}
	}
	return objects, nil
}

func mustHelm(t *testing.T, namespace string, values map[string]any) map[string]object {
	t.Helper()
	objects, err := helm(t, namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return byName(t, objects)
}

// byName returns objects by kind, namespace if it says anything, and name.
func byName(t *testing.T, objects []object) map[string]object {
	t.Helper()
	all := map[string]object{}
	for _, o := range objects {
		key := o.kind() + " " + o.name()
		if ns := text(o.at("metadata"), "namespace"); ns != "" {
			key += " in " + ns
		}
		if all[key] != nil {
			t.Errorf("two objects are %s", key)
		}
		all[key] = prune(map[string]any(o)).(map[string]any)
	}
	return all
}

// prune leaves out what is empty: for the API server that is as if it weren't there.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			if p := prune(value); p != nil && !reflect.DeepEqual(p, map[string]any{}) && !reflect.DeepEqual(p, []any{}) {
				out[key] = p
			}
		}
		return out
	case []any:
		out := []any{}
		for _, value := range v {
			out = append(out, prune(value))
		}
		return out
	case int:
		return float64(v)
	default:
		return v
	}
}

// manifests returns the objects of kustomizations, as JSON has them.
func manifests(t *testing.T, folders ...string) map[string]object {
	t.Helper()
	var all []object
	for _, folder := range folders {
		objects, err := render(root, folder)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, objects...)
	}
	return byName(t, all)
}

func TestChart_IsMadeFromTheManifests(t *testing.T) {
	files, err := chart(root)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(chartFolder), "templates", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range committed {
		if name := "templates/" + filepath.Base(path); files[name] == nil {
			t.Errorf("nothing makes %s: delete it", name)
		}
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(chartFolder), filepath.FromSlash(name)))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the manifests say: run make manifests (%v)", name, err)
		}
	}
}

func TestChart_WithItsDefaultsIsConfigDefault(t *testing.T) {
	want := manifests(t, "config/default")
	delete(want, "Namespace weir-system") // that of the release
	got := mustHelm(t, "weir-system", nil)
	for _, o := range got {
		if o.kind() == "CustomResourceDefinition" {
			annotations := o.at("metadata", "annotations")
			if annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("%s would go with the release", o.name())
			}
			delete(annotations, "helm.sh/resource-policy")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config/default and the chart differ (-config +chart):\n%s", diff)
	}
}

func TestChart_WithMetricsIsConfigPrometheusToo(t *testing.T) {
	on := map[string]any{"metrics": map[string]any{"monitors": true, "rules": true, "dashboard": true}}
	got := mustHelm(t, "weir-system", on)
	for name, want := range manifests(t, "config/prometheus") {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-config +chart):\n%s", name, diff)
		}
	}
}

func TestChart_GoesWhereItsReleaseGoes(t *testing.T) {
	everything := map[string]any{"namespaces": []any{"a"}, "metrics": map[string]any{"monitors": true, "rules": true, "dashboard": true}}
	for _, values := range []map[string]any{nil, everything} {
		objects, err := helm(t, "elsewhere", values)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			b, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if o.kind() != "CustomResourceDefinition" && strings.Contains(strings.ReplaceAll(string(b), "--namespace weir-system", ""), "weir-system") {
				t.Errorf("%s %s speaks of namespace weir-system:\n%s", o.kind(), o.name(), b)
			}
		}
	}
}

func TestChart_WithNamespacesHasRolesInThemAlone(t *testing.T) {
	got := mustHelm(t, "weir-system", map[string]any{"namespaces": []any{"a", "b"}})
	rules := manifests(t, "config/default")["ClusterRole weir-manager"]["rules"]
	for _, ns := range []string{"a", "b"} {
		if diff := cmp.Diff(rules, got["Role weir-manager in "+ns]["rules"]); diff != "" {
			t.Errorf("the role in %s (-want +got):\n%s", ns, diff)
		}
		binding := got["RoleBinding weir-manager in "+ns]
		if ref := binding.at("roleRef"); ref["kind"] != "Role" || ref["name"] != "weir-manager" {
			t.Errorf("the binding in %s is to %v", ns, ref)
		}
		subjects, _ := binding["subjects"].([]any)
		if diff := cmp.Diff([]any{map[string]any{"kind": "ServiceAccount", "name": "weir-manager", "namespace": "weir-system"}}, subjects); diff != "" {
			t.Errorf("the binding in %s (-want +got):\n%s", ns, diff)
		}
	}
	for _, name := range []string{"ClusterRole weir-manager", "ClusterRoleBinding weir-manager"} {
		if got[name] != nil {
			t.Errorf("there is %s though the operator looks after some namespaces only", name)
		}
	}
}

func TestChart_Values(t *testing.T) {
	const deployment = "Deployment weir-manager in weir-system"
	tests := map[string]struct {
		values map[string]any
		check  func(t *testing.T, all map[string]object, pod, container object)
	}{
		"image": {
			map[string]any{"image": map[string]any{"repository": "registry.example/weir", "tag": "v1", "pullPolicy": "Always"}, "imagePullSecrets": []any{map[string]any{"name": "pull"}}},
			func(t *testing.T, _ map[string]object, pod, container object) {
				if container["image"] != "registry.example/weir:v1" || container["imagePullPolicy"] != "Always" || engineImage(container) != "registry.example/weir:v1" {
					t.Errorf("image %v, jobs on %v, pulled %v", container["image"], engineImage(container), container["imagePullPolicy"])
				}
				if diff := cmp.Diff([]any{map[string]any{"name": "pull"}}, pod["imagePullSecrets"]); diff != "" {
					t.Error(diff)
				}
			},
		},
		"image by digest": {
			map[string]any{"image": map[string]any{"tag": "", "digest": "sha256:" + strings.Repeat("a", 64)}},
			func(t *testing.T, _ map[string]object, _, container object) {
				if want := "weir:dev@sha256:" + strings.Repeat("a", 64); container["image"] != want || engineImage(container) != want {
					t.Errorf("image %v, jobs on %v", container["image"], engineImage(container))
				}
			},
		},
		"flags": {
			map[string]any{"namespaces": []any{"a", "b"}, "concurrency": 3, "extraArgs": []any{"--v=1"}},
			func(t *testing.T, _ map[string]object, _, container object) {
				args, _ := container["args"].([]any)
				for _, want := range []string{"--leader-elect", "--namespaces=a,b", "--concurrency=3", "--v=1"} {
					if !slices.Contains(args, any(want)) {
						t.Errorf("%s is missing in %v", want, args)
					}
				}
			},
		},
		"configuration": {
			map[string]any{"config": map[string]any{"kind": "OperatorConfig", "defaults": map[string]any{"workerImage": "{{ x }}"}}},
			func(t *testing.T, all map[string]object, _, _ object) {
				var got map[string]any
				if err := yaml.Unmarshal([]byte(text(all["ConfigMap weir-config in weir-system"].at("data"), "config.yaml")), &got); err != nil {
					t.Fatal(err)
				}
				want := map[string]any{"kind": "OperatorConfig", "defaults": map[string]any{"workerImage": "{{ x }}"}}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			},
		},
		"size and place": {
			map[string]any{
				"replicas": 2, "resources": map[string]any{"limits": map[string]any{"memory": "1Gi"}, "requests": nil}, "goMemLimit": "900MiB",
				"nodeSelector": map[string]any{"zone": "a"}, "priorityClassName": "high", "serviceAccount": map[string]any{"annotations": map[string]any{"role": "r"}},
			},
			func(t *testing.T, all map[string]object, pod, container object) {
				if n := all[deployment].at("spec")["replicas"]; n != float64(2) {
					t.Errorf("%v replicas", n)
				}
				if diff := cmp.Diff(object{"limits": map[string]any{"memory": "1Gi"}}, container.at("resources")); diff != "" {
					t.Error(diff)
				}
				if pod["priorityClassName"] != "high" || pod.at("nodeSelector")["zone"] != "a" {
					t.Errorf("the pod is %v", pod)
				}
				if all["ServiceAccount weir-manager in weir-system"].at("metadata", "annotations")["role"] != "r" {
					t.Error("the annotation of the service account is missing")
				}
			},
		},
		"without some": {
			map[string]any{"crds": map[string]any{"install": false}, "networkPolicy": map[string]any{"enabled": false}},
			func(t *testing.T, all map[string]object, _, _ object) {
				for name, o := range all {
					if k := o.kind(); k == "CustomResourceDefinition" || k == "NetworkPolicy" || k == "ServiceMonitor" {
						t.Errorf("there is %s", name)
					}
				}
			},
		},
		"definitions that go with the release": {
			map[string]any{"crds": map[string]any{"keep": false}},
			func(t *testing.T, all map[string]object, _, _ object) {
				if a := all["CustomResourceDefinition streamjobs.stream.weir.dev"].at("metadata", "annotations"); a["helm.sh/resource-policy"] != nil {
					t.Errorf("annotations %v", a)
				}
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			all := mustHelm(t, "weir-system", tc.values)
			pod, container, err := manager(all[deployment])
			if err != nil {
				t.Fatal(err)
			}
			tc.check(t, all, pod, container)
		})
	}
}

func engineImage(container object) any {
	variables, _ := container["env"].([]any)
	for _, v := range variables {
		if m, ok := v.(map[string]any); ok && m["name"] == "WEIR_ENGINE_IMAGE" {
			return m["value"]
		}
	}
	return nil
}

func TestChart_RefusesUnknownValues(t *testing.T) {
	tests := map[string]struct {
		values map[string]any
		want   string
	}{
		"a typing mistake": {map[string]any{"image": map[string]any{"repositry": "x"}}, "repositry"},
		"a bad namespace":  {map[string]any{"namespaces": []any{"A B"}}, "namespaces"},
		"a bad policy":     {map[string]any{"image": map[string]any{"pullPolicy": "Sometimes"}}, "pullPolicy"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := helm(t, "weir-system", tc.values); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to name %q", err, tc.want)
			}
		})
	}
}

func TestInstall_IsConfigDefaultInOneFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dist", "install.yaml")
	if err := writeInstall(root, file, "registry.example/weir:v1"); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for document := range strings.SplitSeq(strings.TrimPrefix(string(written), "---\n"), "\n---\n") {
		var o object
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	if first := objects[0].kind(); first != "Namespace" {
		t.Errorf("it begins with a %s, which may need the namespace", first)
	}
	got, want := byName(t, objects), manifests(t, "config/default")
	_, container, err := manager(want["Deployment weir-manager in weir-system"])
	if err != nil {
		t.Fatal(err)
	}
	container["image"] = "registry.example/weir:v1"
	if err := setEngineImage(container, "registry.example/weir:v1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config/default and the file differ (-config +file):\n%s", diff)
	}
}
