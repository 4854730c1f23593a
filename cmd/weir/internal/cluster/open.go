// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"io"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// FieldManager is the name under which fields are set.
const FieldManager = "kubectl-weir"

// Options say which cluster is meant. The zero value is what kubectl takes by default: $KUBECONFIG or ~/.kube/config, its
// current context and that context's namespace; inside a pod, the pod's service account.
type Options struct {
	// Kubeconfig is the path of a kubeconfig file, Context the name of a context in it.
	Kubeconfig, Context string
	// Namespace of the StreamJobs.
	Namespace string
	// Warnings takes what the API server warns of; nil: nobody.
	Warnings io.Writer
}

// Cluster is a namespace of a cluster. Safe for concurrent use.
type Cluster struct {
	// Client calls the API server.
	Client client.WithWatch
	// Namespace of the StreamJobs.
	Namespace string
	// Forward opens tunnels to pods.
	Forward Forwarder
}

// Open reads the kubeconfig. Nothing is called yet.
func Open(o Options) (*Cluster, error) {
	quiet()
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, explainConfig(o, err)
	}
	if o.Namespace == "" {
		if o.Namespace, _, err = loader.Namespace(); err != nil {
			return nil, explainConfig(o, err)
		}
	}
	rest.AddUserAgent(config, FieldManager)
	config.WarningHandler = rest.NoWarnings{}
	if o.Warnings != nil {
		config.WarningHandler = rest.NewWarningWriter(o.Warnings, rest.WarningWriterOptions{Deduplicate: true})
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: Scheme(), Mapper: mapper()})
	if err != nil {
		return nil, fmt.Errorf("preparing to call the API server at %s: %w", config.Host, err)
	}
	return &Cluster{Client: c, Namespace: o.Namespace, Forward: &portForwarder{config: config, namespace: o.Namespace}}, nil
}

// Scheme returns the types that are used here.
func Scheme() *kruntime.Scheme {
	s := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{streamv1.AddToScheme, corev1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err) // the types are fixed when this is compiled
		}
	}
	return s
}

// mapper knows the resources of the types that are used, so that the API server needn't be asked.
func mapper() apimeta.RESTMapper {
	m := apimeta.NewDefaultRESTMapper(nil)
	m.Add(streamv1.SchemeGroupVersion.WithKind("StreamJob"), apimeta.RESTScopeNamespace)
	m.Add(streamv1.SchemeGroupVersion.WithKind("StreamSnapshot"), apimeta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Pod"), apimeta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Secret"), apimeta.RESTScopeNamespace)
	return m
}

// quiet keeps the libraries from logging: what matters comes back as an error.
func quiet() {
	klog.SetLogger(logr.Discard())
	ctrllog.SetLogger(logr.Discard())
}
