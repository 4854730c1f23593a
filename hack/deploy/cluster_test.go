// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const definition = "streamjobs.stream.weir.dev"

// TestChart_InstallsUpgradesAndUninstalls does so with Helm on a real API server.
func TestChart_InstallsUpgradesAndUninstalls(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts an API server")
	}
	kube, helm := startCluster(t)
	install := action.NewInstall(helm)
	install.ReleaseName, install.Namespace, install.CreateNamespace = "weir", "weir-system", true
	if _, err := install.RunWithContext(t.Context(), loadChart(t), nil); err != nil {
		t.Fatalf("installing: %v", err)
	}
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: "weir-system", Name: "weir-manager"}
	if err := kube.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	// An older definition lacks fields: the next version of the chart has to bring them.
	crd := &apiextensionsv1.CustomResourceDefinition{}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { // with the API server, which writes the status of a new definition
		if err := kube.Get(t.Context(), client.ObjectKey{Name: definition}, crd); err != nil {
			return err
		}
		delete(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties, "grant")
		return kube.Update(t.Context(), crd)
	})
	if err != nil {
		t.Fatal(err)
	}
	upgrade := action.NewUpgrade(helm)
	upgrade.Namespace = "weir-system"
	if _, err := upgrade.RunWithContext(t.Context(), "weir", loadChart(t), map[string]any{"replicas": 2}); err != nil {
		t.Fatalf("upgrading: %v", err)
	}
	if err := kube.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	if n := *deployment.Spec.Replicas; n != 2 {
		t.Errorf("%d replicas after the upgrade, want 2", n)
	}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: definition}, crd); err != nil {
		t.Fatal(err)
	}
	if _, ok := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties["grant"]; !ok {
		t.Error("the upgrade did not bring the definition up to date")
	}
	if _, err := action.NewUninstall(helm).Run("weir"); err != nil {
		t.Fatalf("uninstalling: %v", err)
	}
	if err := kube.Get(t.Context(), key, deployment); !apierrors.IsNotFound(err) {
		t.Errorf("the operator is still there: %v", err)
	}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: definition}, crd); err != nil {
		t.Errorf("the definition went with the release, and all StreamJobs with it: %v", err)
	}
}

// startCluster starts an API server, and returns clients of it.
func startCluster(t *testing.T) (client.Client, *action.Configuration) {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		assets = filepath.Join(root, "bin", "k8s")
	}
	environment := &envtest.Environment{BinaryAssetsDirectory: assets, ControlPlaneStartTimeout: 2 * time.Minute}
	config, err := environment.Start()
	if err != nil {
		t.Fatalf("starting the API server: %v (make envtest-assets builds it)", err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stopping the API server: %v", err)
		}
	})
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	kube, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, environment.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	namespace := "weir-system"
	helm := &action.Configuration{}
	flags := &genericclioptions.ConfigFlags{KubeConfig: &kubeconfig, Namespace: &namespace}
	if err := helm.Init(flags, namespace, "secrets", t.Logf); err != nil {
		t.Fatal(err)
	}
	return kube, helm
}
