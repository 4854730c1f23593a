// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// ErrNotFound says that there is no such StreamJob.
var ErrNotFound = errors.New(`"kubectl get streamjobs --all-namespaces" lists those there are`)

// explainConfig says what is wrong with the kubeconfig.
func explainConfig(o Options, err error) error {
	switch {
	case clientcmd.IsEmptyConfig(err):
		return errors.New("there is no cluster to talk to: name a kubeconfig with --kubeconfig or $KUBECONFIG, or give --api for a job outside of Kubernetes")
	case clientcmd.IsContextNotFound(err), strings.Contains(err.Error(), fmt.Sprintf("context %q does not exist", o.Context)):
		return fmt.Errorf(`the kubeconfig has no context %q: "kubectl config get-contexts" lists those there are`, o.Context)
	default:
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
}

// explain says what a call about a StreamJob ran into, and the remedy.
func (c *Cluster) explain(doing, name string, err error) error {
	if err == nil {
		return nil
	}
	switch {
	case apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
		return fmt.Errorf("there is no StreamJob %q in namespace %q: %w", name, c.Namespace, ErrNotFound)
	case apierrors.IsNotFound(err):
		return errors.New(`the cluster doesn't know StreamJobs: install Weir in it, with "kubectl apply -k config/default" in a clone of its repository`)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w (ask for the ClusterRole weir-editor in namespace %q, or weir-viewer to look only)", doing, err, c.Namespace)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: the cluster refuses the credentials of the kubeconfig: log in again, or choose another with --kubeconfig or --context: %w", doing, err)
	case apierrors.IsInvalid(err):
		return fmt.Errorf("%s: %w", doing, err)
	}
	return explainNetwork(doing, err)
}

// explainNetwork says that the cluster doesn't answer, if that is so.
func explainNetwork(doing string, err error) error {
	u, isURL := errors.AsType[*url.Error](err)
	_, isNet := errors.AsType[net.Error](err)
	if (isURL || isNet) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		at := ""
		if isURL {
			at = " at " + hostOf(u.URL)
			err = u.Err
		}
		return fmt.Errorf("%s: the cluster doesn't answer%s: %w (is it up? --kubeconfig and --context choose another)", doing, at, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Host
}

// explainAccess says what is needed to reach the coordinator.
func explainAccess(doing, needed string, job *streamv1.StreamJob, err error) error {
	// What refuses an upgrade of the connection comes as text.
	if apierrors.IsForbidden(err) || strings.Contains(err.Error(), " is forbidden: ") {
		return fmt.Errorf("%s: %w (the control API of a job can be called by who may %s in namespace %q; %q shows what the operator knows)",
			doing, err, needed, job.Namespace, "weir status "+job.Name)
	}
	return explainNetwork(doing, err)
}
