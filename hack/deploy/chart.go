// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// chartFolder is where the chart is; Chart.yaml, values and helpers in it are written by hand.
const chartFolder = "charts/weir"

// marks stand in objects for what the values of the chart say. They survive being written as YAML, where templates would not.
var marks = strings.NewReplacer(
	"ZZnamespaceZZ", "{{ $.Release.Namespace }}",
	"ZZimageZZ", `{{ include "weir.image" $ | quote }}`,
	"ZZpullPolicyZZ", "{{ $.Values.image.pullPolicy }}",
	"ZZreplicasZZ", "{{ $.Values.replicas }}",
	"ZZresourcesZZ", "{{ toJson $.Values.resources }}",
	"ZZmemoryZZ", "{{ $.Values.goMemLimit | quote }}",
	"ZZconfigZZ", "{{ toYaml $.Values.config | quote }}",
	"ZZwatchedZZ", "{{ . | quote }}",
)

// blocks stand for lines that are there when a value is set. Their lines get the indentation of the mark.
var blocks = map[string]string{
	"- ZZargsZZ": `{{- with $.Values.namespaces }}
- {{ printf "--namespaces=%s" (join "," .) | quote }}
{{- end }}
{{- with $.Values.concurrency }}
- --concurrency={{ . }}
{{- end }}
{{- with $.Values.extraArgs }}
{{- range . }}
- {{ . | quote }}
{{- end }}
{{- end }}`,
	"ZZpodZZ: ZZ": podBlock("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"),
	"ZZkeepZZ: ZZ": `{{- if $.Values.crds.keep }}
helm.sh/resource-policy: keep
{{- end }}`,
	"ZZserviceAccountZZ: ZZ": `{{- with $.Values.serviceAccount.annotations }}
annotations: {{ toJson . }}
{{- end }}`,
}

func podBlock(fields ...string) string {
	var lines []string
	for _, f := range fields {
		lines = append(lines, "{{- with $.Values."+f+" }}", f+": {{ toJson . }}", "{{- end }}")
	}
	return strings.Join(lines, "\n")
}

// chart returns the generated templates by their path in the chart.
func chart(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, part := range []struct {
		folder string
		write  func(object) (string, error)
	}{{"config/default", template}, {"config/operatorconfig", template}, {"config/prometheus", monitoring}} {
		objects, err := render(root, part.folder)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			name := path.Join("templates", strings.ToLower(o.kind())+"-"+o.name()+".yaml")
			text, err := part.write(o)
			if err != nil {
				return nil, err
			}
			if text == "" {
				continue
			}
			if files[name] != nil {
				return nil, fmt.Errorf("making the chart: two objects would be in %s", name)
			}
			files[name] = []byte("{{- /* Made by make manifests from " + part.folder + ": edit that. */ -}}\n" + text)
		}
	}
	return files, nil
}

// template returns the template of an object of config/default; none for the namespace, which is that of the release.
func template(o object) (string, error) {
	toNamespace(o)
	switch {
	case o.kind() == "Namespace":
		return "", nil
	case o.kind() == "CustomResourceDefinition":
		annotate(o, "ZZkeepZZ", "ZZ")
		text, err := write(o)
		return conditional("$.Values.crds.install", text), err
	case isManager(o):
		if err := markManager(o); err != nil {
			return "", err
		}
	case o.kind() == "ServiceAccount":
		o.at("metadata")["ZZserviceAccountZZ"] = "ZZ"
	case o.kind() == "ConfigMap" && o.name() == "weir-config":
		return configured(o)
	case o.kind() == "NetworkPolicy":
		text, err := write(o)
		return conditional("$.Values.networkPolicy.enabled", text), err
	case o.name() == "weir-manager" && (o.kind() == "ClusterRole" || o.kind() == "ClusterRoleBinding"):
		return namespaced(o)
	}
	return write(o)
}

// monitoring returns the template of an object of config/prometheus.
func monitoring(o object) (string, error) {
	values := map[string]string{
		"ServiceMonitor": "$.Values.metrics.monitors", "PodMonitor": "$.Values.metrics.monitors",
		"PrometheusRule": "$.Values.metrics.rules", "ConfigMap": "$.Values.metrics.dashboard",
	}
	condition := values[o.kind()]
	if condition == "" {
		return "", fmt.Errorf("making the chart: no value says whether %s %s is wanted", o.kind(), o.name())
	}
	toNamespace(o)
	text, err := write(o)
	return conditional(condition, text), err
}

// toNamespace puts an object, and whom a binding binds, into the namespace of the release.
func toNamespace(o object) {
	if m := o.at("metadata"); m["namespace"] != nil {
		m["namespace"] = "ZZnamespaceZZ"
	}
	subjects, _ := o["subjects"].([]any)
	for _, s := range subjects {
		if m, ok := s.(map[string]any); ok && m["namespace"] != nil {
			m["namespace"] = "ZZnamespaceZZ"
		}
	}
}

func annotate(o object, key, value string) {
	m := o.at("metadata")
	annotations, _ := m["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		m["annotations"] = annotations
	}
	annotations[key] = value
}

// markManager puts marks where values say how the operator runs.
func markManager(o object) error {
	pod, container, err := manager(o)
	if err != nil {
		return err
	}
	o.at("spec")["replicas"] = "ZZreplicasZZ"
	pod["ZZpodZZ"] = "ZZ"
	container["image"], container["imagePullPolicy"], container["resources"] = "ZZimageZZ", "ZZpullPolicyZZ", "ZZresourcesZZ"
	if err := setEngineImage(container, "ZZimageZZ"); err != nil {
		return err
	}
	args, ok := container["args"].([]any)
	if !ok {
		return errors.New("making the chart: the manager has no arguments")
	}
	container["args"] = append(slices.Clone(args), "ZZargsZZ")
	variables, _ := container["env"].([]any)
	for _, v := range variables {
		if m, ok := v.(map[string]any); ok && m["name"] == "GOMEMLIMIT" {
			m["value"] = "ZZmemoryZZ"
		}
	}
	return nil
}

// namespaced returns a template that makes a role or binding of the cluster one of each namespace, when there are some that are looked
// after.
func namespaced(o object) (string, error) {
	everywhere, err := write(o)
	if err != nil {
		return "", err
	}
	o["kind"] = strings.TrimPrefix(o.kind(), "Cluster")
	o.at("metadata")["namespace"] = "ZZwatchedZZ"
	if ref := o.at("roleRef"); len(ref) > 0 {
		ref["kind"] = "Role"
	}
	each, err := write(o)
	if err != nil {
		return "", err
	}
	return "{{- if $.Values.namespaces }}\n{{- range $.Values.namespaces }}\n---\n" + each + "{{- end }}\n{{- else }}\n" + everywhere + "{{- end }}\n", nil
}

// configured writes the config map of the operator's configuration, which is there when the values have one.
func configured(o object) (string, error) {
	o.at("data")["config.yaml"] = "ZZconfigZZ"
	text, err := write(o)
	return conditional("$.Values.config", text), err
}

func conditional(value, text string) string {
	return "{{- if " + value + " }}\n" + text + "{{- end }}\n"
}

var blockLine = regexp.MustCompile(`(?m)^( *)(- ZZ\w+ZZ|ZZ\w+ZZ: ZZ)$`)

// write writes an object as a template: what looks like one in it is text, marks are what they stand for.
func write(o object) (string, error) {
	text, err := yaml.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("writing %s %s: %w", o.kind(), o.name(), err)
	}
	escaped := strings.ReplaceAll(string(text), "{{", "{{ `{{` }}")
	var missing error
	filled := blockLine.ReplaceAllStringFunc(escaped, func(line string) string {
		mark := strings.TrimLeft(line, " ")
		block, ok := blocks[mark]
		if !ok {
			missing = fmt.Errorf("writing %s %s: nothing is known of %s", o.kind(), o.name(), mark)
		}
		indent := strings.Repeat(" ", len(line)-len(mark))
		return indentLines(block, indent)
	})
	return marks.Replace(filled), missing
}

// indentLines indents what isn't an instruction of templates.
func indentLines(block, indent string) string {
	lines := strings.Split(block, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "{{- ") {
			lines[i] = indent + line
		}
	}
	return strings.Join(lines, "\n")
}
