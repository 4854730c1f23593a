// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

// root is the folder of the repository.
var root = filepath.Join("..", "..")

// load reads a YAML file.
func load(t *testing.T, into any, path ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// TestHealth runs the scripts as Argo CD does: Lua with the basic and the table library alone, and the object in the variable obj.
func TestHealth(t *testing.T) {
	var config struct {
		Data map[string]string `json:"data"`
	}
	load(t, &config, root, "config", "argocd", "argocd-cm.yaml")
	type health struct{ Status, Message string }
	var tests []struct {
		Name   string
		Object map[string]any
		Want   health
	}
	load(t, &tests, "testdata", "health.yaml")
	seen := map[string]bool{}
	for _, tc := range tests {
		t.Run(tc.Name, func(t *testing.T) {
			kind, _ := tc.Object["kind"].(string)
			script := config.Data["resource.customizations.health.stream.weir.dev_"+kind]
			if script == "" {
				t.Fatalf("there is no script for %s", kind)
			}
			complete(tc.Object)
			result, err := evaluate(script, tc.Object)
			if err != nil {
				t.Fatal(err)
			}
			got := health{result.RawGetString("status").String(), result.RawGetString("message").String()}
			if got != tc.Want {
				t.Errorf("got %+v, want %+v", got, tc.Want)
			}
			seen[kind+" "+got.Status] = true
		})
	}
	for _, want := range []string{
		"StreamJob Healthy", "StreamJob Progressing", "StreamJob Degraded", "StreamJob Suspended",
		"StreamSnapshot Healthy", "StreamSnapshot Progressing", "StreamSnapshot Degraded",
	} {
		if !seen[want] {
			t.Errorf("no case is %s", want)
		}
	}
}

// complete adds what each object has: a generation, and a status that speaks of it unless it says otherwise.
func complete(o map[string]any) {
	metadata := map[string]any{"name": "x", "generation": 2}
	if m, ok := o["metadata"].(map[string]any); ok {
		maps.Copy(metadata, m)
	}
	o["metadata"] = metadata
	if status, ok := o["status"].(map[string]any); ok && status["observedGeneration"] == nil {
		status["observedGeneration"] = 2
	}
}

func evaluate(script string, o map[string]any) (*lua.LTable, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	state.SetGlobal("obj", toLua(state, o))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	return state.CheckTable(-1), nil
}

func toLua(state *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, value := range v {
			table.RawSetString(key, toLua(state, value))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, value := range v {
			table.Append(toLua(state, value))
		}
		return table
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case int:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	default:
		return lua.LNil
	}
}
