// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"fmt"

	_ "embed"
)

// Namespaces of what is installed.
const (
	// Namespace is that of the S3 server and the helper pods.
	Namespace = "weir-stage"
	// OperatorNamespace is that of the operator.
	OperatorNamespace = "weir-system"
	// OperatorDeployment is the name of its Deployment.
	OperatorDeployment = "weir-manager"
)

const rolloutTimeout = "120s"

//go:embed s3.yaml
var s3Manifests []byte

//go:embed tool.yaml
var toolManifests []byte

// InstallOperator installs what config/default holds and waits until the operator is ready. An operator of another build is replaced.
func (c *Cluster) InstallOperator(ctx context.Context) error {
	c.Log("Installing the operator: kubectl apply --server-side --force-conflicts -k config/default")
	if _, err := c.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-k", "config/default"); err != nil {
		return err
	}
	if c.Kind != Current {
		if err := c.stampOperator(ctx); err != nil {
			return err
		}
	}
	return c.rolledOut(ctx, OperatorNamespace, "deployment/"+OperatorDeployment)
}

// stampOperator puts the digest of the image into the pods of the operator, so that a new image under the old tag replaces them.
func (c *Cluster) stampOperator(ctx context.Context) error {
	digest, err := c.digest(Images()[0])
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"stream.weir.dev/image":%q}}}}}`, digest)
	_, err = c.Kubectl(ctx, "patch", "deployment", OperatorDeployment, "--namespace", OperatorNamespace, "--patch", patch)
	return err
}

// InstallS3 installs an S3 server with an empty bucket, for trying things out: its data ends with its pod.
func (c *Cluster) InstallS3(ctx context.Context) error {
	c.Log("Installing an S3 server (VersityGW) in namespace %s", Namespace)
	if err := c.apply(ctx, s3Manifests); err != nil {
		return err
	}
	return c.rolledOut(ctx, Namespace, "deployment/s3")
}

// InstallTool installs the helper pods, one a node.
func (c *Cluster) InstallTool(ctx context.Context) error {
	if err := c.apply(ctx, toolManifests); err != nil {
		return err
	}
	return c.rolledOut(ctx, Namespace, "daemonset/tool")
}

func (c *Cluster) rolledOut(ctx context.Context, namespace, what string) error {
	_, err := c.Kubectl(ctx, "rollout", "status", what, "--namespace", namespace, "--timeout", rolloutTimeout)
	return err
}

// Prepare does all of it: cluster, images, operator, S3 server, helper pods.
func (c *Cluster) Prepare(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		c.Up,
		func(ctx context.Context) error { return c.Build(ctx, Images()) },
		func(ctx context.Context) error { return c.Load(ctx, Images()) },
		c.InstallOperator, c.InstallS3, c.InstallTool,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
