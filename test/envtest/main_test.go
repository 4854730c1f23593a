// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crenvtest "sigs.k8s.io/controller-runtime/pkg/envtest"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/test/orphans"
)

// What all tests share.
var (
	scheme = kruntime.NewScheme()
	// server is how to reach the API server as an administrator.
	server *rest.Config
	// admin is a client of it that reads without a cache.
	admin client.WithWatch
)

func TestMain(m *testing.M) {
	// The tests mostly wait.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // this is the main of the tests
}

// run starts the API server, runs the tests and stops it.
func run(m *testing.M) (code int, err error) {
	assets, err := assetsDirectory()
	if err != nil {
		return 1, err
	}
	for _, add := range []func(*kruntime.Scheme) error{clientgoscheme.AddToScheme, streamv1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 1, err
		}
	}
	ctrl.SetLogger(logr.Discard())
	environment := &crenvtest.Environment{
		Scheme:                   scheme,
		BinaryAssetsDirectory:    assets,
		CRDDirectoryPaths:        []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
	}
	// Each version of each job has a Service, and what tests leave is never cleaned up: the default has 254 addresses.
	environment.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/16")
	if server, err = environment.Start(); err != nil {
		return 1, fmt.Errorf("starting the API server: %w", err)
	}
	release, err := orphans.Guard()
	if err != nil {
		return 1, errors.Join(err, environment.Stop())
	}
	defer func() {
		if stopErr := errors.Join(environment.Stop(), release()); stopErr != nil && err == nil {
			err = fmt.Errorf("stopping the API server: %w", stopErr)
		}
	}()
	if admin, err = client.NewWithWatch(server, client.Options{Scheme: scheme, FieldOwner: "test"}); err != nil {
		return 1, fmt.Errorf("making a client: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // this is the main of the tests
	played := make(chan error, 1)
	go func() { played <- nodes.run(ctx) }()
	code = m.Run()
	cancel()
	return code, <-played
}

// assetsDirectory returns where the binaries of the API server are.
func assetsDirectory() (string, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		var err error
		if dir, err = filepath.Abs(filepath.Join("..", "..", "bin", "k8s")); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"kube-apiserver", "etcd"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%s is missing in %s: run make envtest-assets", name, dir)
		}
	}
	return dir, nil
}
