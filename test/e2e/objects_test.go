// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// objects lists what the operator makes for jobs, pods left out.
func (s *scenario) objects(labels client.MatchingLabels) []client.Object {
	s.Helper()
	return s.listAll(labels, &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{})
}

// listAll lists objects of several kinds in the namespace.
func (s *scenario) listAll(labels client.MatchingLabels, lists ...client.ObjectList) []client.Object {
	s.Helper()
	var all []client.Object
	for _, list := range lists {
		if err := suite.client.List(s.Context(), list, client.InNamespace(s.ns), labels); err != nil {
			s.Fatalf("listing %T: %v", list, err)
		}
		err := apimeta.EachListItem(list, func(o kruntime.Object) error {
			all = append(all, o.(client.Object))
			return nil
		})
		if err != nil {
			s.Fatalf("listing %T: %v", list, err)
		}
	}
	return all
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

func join(names []string) string { return strings.Join(names, ", ") }
