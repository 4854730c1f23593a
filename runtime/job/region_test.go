// SPDX-License-Identifier: Apache-2.0

package job_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/job"
)

func TestPlan_Region(t *testing.T) {
	t.Parallel()
	vertex := func(name string, inputs ...string) job.Vertex {
		v := job.Vertex{Name: name, Parallelism: 1}
		for _, in := range inputs {
			v.Inputs = append(v.Inputs, job.Input{Vertex: in, Forward: true})
		}
		return v
	}
	tests := map[string]struct {
		vertices []job.Vertex
		want     map[string]string
	}{
		"a chain":  {[]job.Vertex{vertex("a"), vertex("b", "a"), vertex("c", "b")}, map[string]string{"a": "a", "b": "a", "c": "a"}},
		"two":      {[]job.Vertex{vertex("a"), vertex("x"), vertex("b", "a"), vertex("y", "x")}, map[string]string{"a": "a", "b": "a", "x": "x", "y": "x"}},
		"a fork":   {[]job.Vertex{vertex("a"), vertex("b", "a"), vertex("c", "a")}, map[string]string{"a": "a", "b": "a", "c": "a"}},
		"a union":  {[]job.Vertex{vertex("a"), vertex("b"), vertex("c", "a", "b")}, map[string]string{"a": "a", "b": "a", "c": "a"}},
		"a W":      {[]job.Vertex{vertex("a"), vertex("b"), vertex("c"), vertex("x", "a", "b"), vertex("y", "b", "c")}, map[string]string{"a": "a", "b": "a", "c": "a", "x": "a", "y": "a"}},
		"one each": {[]job.Vertex{vertex("a"), vertex("b")}, map[string]string{"a": "a", "b": "b"}},
		"a diamond beside one": {
			[]job.Vertex{vertex("x"), vertex("a"), vertex("l", "a"), vertex("r", "a"), vertex("e", "l", "r")},
			map[string]string{"x": "x", "a": "a", "l": "a", "r": "a", "e": "a"},
		},
		"self loops and unknown inputs": {[]job.Vertex{vertex("a", "a", "nowhere")}, map[string]string{"a": "a", "nowhere": ""}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := job.Plan{Vertices: tc.vertices}
			got := map[string]string{}
			for v := range tc.want {
				got[v] = p.Region(v)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
