// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

var rewrite = flag.Bool("rewrite", false, "write config/namespaced/tenant/role.yaml anew")

const (
	clusterRole = "../../config/rbac/role.yaml"
	tenantRole  = "../../config/namespaced/tenant/role.yaml"
)

func readYAML(t *testing.T, path string, to any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, to); err != nil {
		t.Fatal(err)
	}
}

// TestTenantRole_IsTheRoleOfTheCluster keeps the rights of an operator for some namespaces the same as those of one for all.
func TestTenantRole_IsTheRoleOfTheCluster(t *testing.T) {
	var cluster rbacv1.ClusterRole
	readYAML(t, clusterRole, &cluster)
	want := rbacv1.Role{TypeMeta: cluster.TypeMeta, ObjectMeta: cluster.ObjectMeta, Rules: cluster.Rules}
	want.Kind = "Role"
	if *rewrite {
		text, err := yaml.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		head := "# SPDX-License-Identifier: Apache-2.0\n# The rules of config/rbac/role.yaml, for one namespace.\n"
		if err := os.WriteFile(tenantRole, append([]byte(head), text...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got rbacv1.Role
	readYAML(t, tenantRole, &got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config/namespaced/tenant/role.yaml (-want +got; -rewrite accepts it):\n%s", diff)
	}
}

// TestRole_ReadsNoSecretButByName is how the rights show that the operator cannot look through secrets.
func TestRole_ReadsNoSecretButByName(t *testing.T) {
	var role rbacv1.ClusterRole
	readYAML(t, clusterRole, &role)
	secrets := 0
	for _, rule := range role.Rules {
		if slices.Contains(rule.Resources, "*") || slices.Contains(rule.Verbs, "*") || slices.Contains(rule.APIGroups, "*") {
			t.Errorf("a rule for everything: %v", rule)
		}
		for _, r := range rule.Resources {
			if strings.Contains(r, "exec") || strings.Contains(r, "log") || strings.HasPrefix(r, "role") || strings.Contains(r, "token") {
				t.Errorf("a right that the operator has no use for: %v", rule)
			}
		}
		if slices.Contains(rule.Resources, "secrets") {
			secrets++
			if diff := cmp.Diff([]string{"create", "get", "patch"}, slices.Sorted(slices.Values(rule.Verbs))); diff != "" {
				t.Errorf("rights to secrets (-want +got):\n%s", diff)
			}
		}
	}
	if secrets != 1 {
		t.Errorf("%d rules are about secrets", secrets)
	}
}
