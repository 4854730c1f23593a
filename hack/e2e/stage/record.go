// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"encoding/json"
	"fmt"
)

// record is the name of the config map, in Namespace, that says which images the nodes have. It goes with the cluster.
const record = "images"

// readRecord returns the digests of the images that were loaded, by name.
func (c *Cluster) readRecord(ctx context.Context) (map[string]string, error) {
	out, err := c.Kubectl(ctx, "get", "configmap", record, "--namespace", Namespace, "--ignore-not-found", "--output", "json")
	if err != nil {
		return nil, err
	}
	var got struct {
		Data map[string]string `json:"data"`
	}
	if out != "" {
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			return nil, fmt.Errorf("reading which images are loaded: %w", err)
		}
	}
	if got.Data == nil {
		got.Data = map[string]string{}
	}
	return got.Data, nil
}

// writeRecord keeps them. The namespace is made when it isn't there.
func (c *Cluster) writeRecord(ctx context.Context, digests map[string]string) error {
	type object map[string]any
	list := object{"apiVersion": "v1", "kind": "List", "items": []object{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": Namespace}},
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": record, "namespace": Namespace}, "data": digests},
	}}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return c.apply(ctx, b)
}

// apply applies manifests.
func (c *Cluster) apply(ctx context.Context, manifests []byte) error {
	_, err := c.KubectlWith(ctx, manifests, "apply", "--server-side", "--force-conflicts", "--field-manager", "weir-stage", "--filename", "-")
	return err
}
