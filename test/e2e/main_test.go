// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	kruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

var clusterKind = flag.String("cluster", string(stage.Local), "the cluster: "+stage.Kinds)

// suite is what all scenarios share: the cluster and the ways into it.
var suite struct {
	cluster *stage.Cluster
	access  *stage.Access
	client  client.WithWatch
}

func TestMain(m *testing.M) {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // the root of all tests
	err := open(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1) //nolint:forbidigo // before any test
	}
	m.Run() // its code is the exit code of the process
	suite.access.Close()
}

// open connects to the cluster, which "make e2e" has prepared.
func open(ctx context.Context) (err error) {
	if suite.cluster, err = stage.Open(stage.Kind(*clusterKind), nil); err != nil {
		return err
	}
	cfg, err := suite.cluster.RESTConfig()
	if err != nil {
		return err
	}
	scheme := kruntime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := streamv1.AddToScheme(scheme); err != nil {
		return err
	}
	if suite.client, err = client.NewWithWatch(cfg, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	suite.access, err = suite.cluster.Access(ctx)
	return err
}
