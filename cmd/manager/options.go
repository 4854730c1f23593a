// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// engineImageVariable is the environment variable with the default of --engine-image.
const engineImageVariable = "WEIR_ENGINE_IMAGE"

// options are the settings of the program.
type options struct {
	engineImage           string
	engineImagePullPolicy string
	leaderElect           bool
	leaderNamespace       string
	metricsAddr           string
	metricsCertDir        string
	healthAddr            string
	namespaces            string
	config                string
	namespace             string
	concurrency           int
	perNamespace          int
	verbosity             int
	version               bool
}

// flags returns the flags that set o.
func flags(o *options, getenv func(string) string) *flag.FlagSet {
	f := flag.NewFlagSet("manager", flag.ContinueOnError)
	f.StringVar(&o.engineImage, "engine-image", getenv(engineImageVariable), "image of coordinators, workers and agents of jobs that are dataflows (default: environment variable "+engineImageVariable+")")
	f.StringVar(&o.engineImagePullPolicy, "engine-image-pull-policy", "", "when that image is pulled: Always, IfNotPresent or Never (default: what Kubernetes makes of its tag)")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "work only while no other manager does")
	f.StringVar(&o.leaderNamespace, "leader-election-namespace", "", "namespace of the lease (default: that of the pod)")
	f.StringVar(&o.metricsAddr, "metrics-bind-address", ":8443", "where metrics are served over HTTPS, to those who may get the path /metrics; 0 for nowhere")
	f.StringVar(&o.metricsCertDir, "metrics-cert-dir", "", "directory with tls.crt and tls.key for metrics (default: a certificate that nobody has signed)")
	f.StringVar(&o.healthAddr, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served; 0 for nowhere")
	f.StringVar(&o.namespaces, "namespaces", "", "namespaces to look after, separated by commas (default: all)")
	f.StringVar(&o.config, "config", "", "file with what is in force where a StreamJob leaves a field unset; it is followed while the manager runs (default: none)")
	f.StringVar(&o.namespace, "operator-namespace", "", "namespace of the manager, which network policies of jobs let in (default: that of the pod)")
	f.IntVar(&o.concurrency, "concurrency", 8, "how many StreamJobs, and how many StreamSnapshots, are worked on at once")
	f.IntVar(&o.perNamespace, "concurrency-per-namespace", 0, "how many of these may be of one namespace (default: half; all if there is one namespace only)")
	f.IntVar(&o.verbosity, "v", 0, "how much is logged: 0 for what changes, 1 for each object that is applied, 2 for more")
	f.BoolVar(&o.version, "version", false, "print the version and end")
	return f
}

func parseOptions(args []string, getenv func(string) string) (*options, error) {
	o := &options{}
	f := flags(o, getenv)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("reading the arguments: %q is not a flag: there are only flags", f.Arg(0))
	}
	return o, o.validate()
}

func (o *options) validate() error {
	if o.version {
		return nil
	}
	if o.engineImage == "" {
		return errors.New("the image of the engine is not set: give --engine-image or set " + engineImageVariable)
	}
	policies := []string{"", string(corev1.PullAlways), string(corev1.PullIfNotPresent), string(corev1.PullNever)}
	if !slices.Contains(policies, o.engineImagePullPolicy) {
		return fmt.Errorf("reading --engine-image-pull-policy: %q is none of Always, IfNotPresent and Never", o.engineImagePullPolicy)
	}
	if o.concurrency < 1 {
		return fmt.Errorf("reading --concurrency: %d is less than 1", o.concurrency)
	}
	if o.perNamespace < 0 {
		return fmt.Errorf("reading --concurrency-per-namespace: %d is less than 0", o.perNamespace)
	}
	if o.verbosity < 0 || o.verbosity > 4 {
		return fmt.Errorf("reading --v: %d is not between 0 and 4", o.verbosity)
	}
	return nil
}

// namespaceList returns the namespaces to look after; none: all.
func (o *options) namespaceList() []string {
	var list []string
	for name := range strings.SplitSeq(o.namespaces, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// atMost returns how many objects of one namespace may be worked on at once; 0: as many as of all.
func (o *options) atMost() int {
	if o.perNamespace == 0 && len(o.namespaceList()) != 1 {
		return (o.concurrency + 1) / 2
	}
	return o.perNamespace
}
