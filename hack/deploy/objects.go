// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"path/filepath"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// object is one of Kubernetes, as JSON has it.
type object map[string]any

// render returns the objects of a kustomization, in an order in which they can be applied.
func render(root, folder string) ([]object, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), filepath.Join(root, filepath.FromSlash(folder)))
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", folder, err)
	}
	var objects []object
	for _, r := range resources.Resources() {
		o, err := r.Map()
		if err != nil {
			return nil, fmt.Errorf("reading %s of %s: %w", r.CurId(), folder, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func (o object) kind() string { return text(o, "kind") }
func (o object) name() string { return text(o.at("metadata"), "name") }

// at returns the object at a path; an empty one when there is none.
func (o object) at(path ...string) object {
	for _, key := range path {
		next, _ := o[key].(map[string]any)
		o = next
	}
	return o
}

func text(o object, key string) string {
	s, _ := o[key].(string)
	return s
}

// manager returns the pod and the container of the operator's Deployment.
func manager(deployment object) (pod, container object, err error) {
	pod = deployment.at("spec", "template", "spec")
	containers, _ := pod["containers"].([]any)
	for _, c := range containers {
		if m, ok := c.(map[string]any); ok && m["name"] == "manager" {
			return pod, m, nil
		}
	}
	return nil, nil, fmt.Errorf("looking for the container manager in Deployment %s: there is none", deployment.name())
}

// isManager says whether an object is the Deployment of the operator.
func isManager(o object) bool { return o.kind() == "Deployment" && o.name() == "weir-manager" }

// setImage sets the image of the operator, which is that of jobs too.
func setImage(objects []object, image string) error {
	for _, o := range objects {
		if !isManager(o) {
			continue
		}
		_, container, err := manager(o)
		if err != nil {
			return err
		}
		container["image"] = image
		return setEngineImage(container, image)
	}
	return fmt.Errorf("setting the image: there is no Deployment weir-manager")
}

// setEngineImage sets the environment variable that says which image jobs run on.
func setEngineImage(container object, image string) error {
	variables, _ := container["env"].([]any)
	for _, v := range variables {
		if m, ok := v.(map[string]any); ok && m["name"] == "WEIR_ENGINE_IMAGE" {
			m["value"] = image
			return nil
		}
	}
	return fmt.Errorf("setting the image of jobs: the manager has no variable WEIR_ENGINE_IMAGE")
}

// manifest writes objects as YAML documents.
func manifest(objects []object) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("writing %s %s: %w", o.kind(), o.name(), err)
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.Bytes(), nil
}
