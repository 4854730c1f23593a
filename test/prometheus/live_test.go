// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crenvtest "sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/test/orphans"
)

// patience is how long anything is waited for, lookAgain how often it is looked at.
const (
	patience  = 2 * time.Minute
	lookAgain = 100 * time.Millisecond
)

// live is a Prometheus that collects the metrics of an operator, which serves an API server, and of an engine.
type live struct {
	t          *testing.T
	dir        string
	kube       client.Client
	prometheus string
}

// TestPrometheus_CollectsAndEvaluates starts the real programs: what the operator serves to who has the role for it is collected, the rules
// are evaluated, and each expression of rules and dashboard has an answer.
func TestPrometheus_CollectsAndEvaluates(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and starts an API server, an operator, an engine and a Prometheus")
	}
	l := &live{t: t, dir: t.TempDir()}
	kubeconfig := l.startAPIServer()
	operator, engine := freeAddress(t), freeAddress(t)
	l.run(l.program("manager"), []string{"KUBECONFIG=" + kubeconfig}, "--engine-image=weir:test", "--metrics-bind-address="+operator,
		"--health-probe-bind-address=0")
	l.run(l.program("weir"), nil, "run", filepath.Join(root, "config", "samples", "first-job.yaml"), "--api", engine)
	l.startPrometheus(l.token(), operator, engine)

	job := sample(t)
	job.Name, job.Namespace = "views", "default"
	if err := l.kube.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	l.eventually("the operator says that the job is not ready", `weir_streamjob_ready{namespace="default", streamjob="views"} == 0`)
	l.eventually("an alert is on its way", `ALERTS{alertname="WeirStreamJobNotReady", alertstate="pending", streamjob="views"}`)
	l.eventually("nothing else is wrong", `absent(ALERTS{alertname!="WeirStreamJobNotReady"})`)
	l.eventually("both are up", `count(up == 1) == 2`)
	l.eventually("the engine completes checkpoints", `weir_last_checkpoint_id{job="first-job"} > 0`)
	l.evaluatesAll()
	l.refusesStrangers(operator)
}

// evaluatesAll has each expression evaluated, and expects those that are about the engine alone to have results.
func (l *live) evaluatesAll() {
	for where, expr := range expressions(l.t, map[string][]string{}) {
		expr = strings.NewReplacer("$namespace", ".*", "$streamjob", ".*").Replace(expr)
		found, err := l.query(expr)
		if err != nil {
			l.t.Errorf("%s: %v", where, err)
		}
		if strings.HasPrefix(expr, "weir_last_checkpoint") && found == 0 {
			l.t.Errorf("%s: no result for %s", where, expr)
		}
	}
}

// refusesStrangers looks whether metrics of the operator need a token.
func (l *live) refusesStrangers(operator string) {
	request, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "https://"+operator+"/metrics", http.NoBody)
	if err != nil {
		l.t.Fatal(err)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := stranger.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusUnauthorized {
		l.t.Errorf("without a token: %s, want %d", response.Status, http.StatusUnauthorized)
	}
}

// startAPIServer returns the path of a kubeconfig of its administrator.
func (l *live) startAPIServer() string {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		assets = filepath.Join(root, "bin", "k8s")
	}
	environment := &crenvtest.Environment{
		BinaryAssetsDirectory: assets, CRDDirectoryPaths: []string{filepath.Join(root, "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: patience,
	}
	config, err := environment.Start()
	if err != nil {
		l.t.Fatalf("starting the API server: %v (make envtest-assets builds it)", err)
	}
	release, err := orphans.Guard()
	if err != nil {
		l.t.Fatal(errors.Join(err, environment.Stop()))
	}
	l.t.Cleanup(func() {
		if err := errors.Join(environment.Stop(), release()); err != nil {
			l.t.Errorf("stopping the API server: %v", err)
		}
	})
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{clientgoscheme.AddToScheme, streamv1.AddToScheme} {
		if err := add(scheme); err != nil {
			l.t.Fatal(err)
		}
	}
	if l.kube, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join(l.dir, "kubeconfig")
	if err := os.WriteFile(path, environment.KubeConfig, 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// token returns the path of a token of a service account that has the role of config/rbac for metrics.
func (l *live) token() string {
	ctx := l.t.Context()
	text, err := os.ReadFile(filepath.Join(root, "config", "rbac", "metrics_reader_role.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, role); err != nil {
		l.t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "prometheus"}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "prometheus"}},
	}
	for _, o := range []client.Object{role, account, binding} {
		if err := l.kube.Create(ctx, o); err != nil {
			l.t.Fatal(err)
		}
	}
	request := &authenticationv1.TokenRequest{}
	if err := l.kube.SubResource("token").Create(ctx, account, request); err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join(l.dir, "token")
	if err := os.WriteFile(path, []byte(request.Status.Token), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// startPrometheus collects as config/prometheus/monitors.yaml says, but more often and by address.
func (l *live) startPrometheus(token, operator, engine string) {
	_, text := rules(l.t)
	address := freeAddress(l.t)
	l.prometheus = "http://" + address
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: weir-manager-metrics
  scheme: https
  honor_labels: true
  authorization: {credentials_file: %s}
  tls_config: {insecure_skip_verify: true}
  static_configs: [{targets: ["%s"]}]
- job_name: weir-coordinators
  honor_labels: true
  static_configs: [{targets: ["%s"]}]
`, token, operator, engine)
	for name, content := range map[string][]byte{"rules.yaml": text, "prometheus.yaml": []byte(config)} {
		if err := os.WriteFile(filepath.Join(l.dir, name), content, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	l.run(tool(l.t, "prometheus"), nil, "--config.file="+filepath.Join(l.dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(l.dir, "tsdb"),
		"--web.listen-address="+address, "--log.level=warn")
}

// program builds a program of this module.
func (l *live) program(name string) string {
	binary := filepath.Join(l.dir, name)
	if output, err := exec.CommandContext(l.t.Context(), "go", "build", "-o", binary, filepath.Join(root, "cmd", name)+"/").CombinedOutput(); err != nil {
		l.t.Fatalf("building %s: %v\n%s", name, err, output)
	}
	return binary
}

// run runs a program until the test ends.
func (l *live) run(program string, environment []string, args ...string) {
	ctx, cancel := context.WithCancel(l.t.Context())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		cancel()
		l.t.Fatalf("starting %s: %v", program, err)
	}
	l.t.Cleanup(func() {
		cancel()
		err := cmd.Wait()
		if l.t.Failed() {
			l.t.Logf("%s %v: %v\n%s", program, args, err, output.String())
		}
	})
}

// query returns how many results an expression has.
func (l *live) query(expr string) (int, error) {
	request, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, l.prometheus+"/api/v1/query?query="+url.QueryEscape(expr), http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	return len(answer.Data.Result), nil
}

// eventually waits until an expression has a result.
func (l *live) eventually(what, expr string) {
	l.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		n, err := l.query(expr)
		if err == nil && n > 0 {
			return
		}
		select {
		case <-deadline.C:
			l.t.Fatalf("%s: not within %s: %s has %d results, %v", what, patience, expr, n, err)
		case <-ticker.C:
		}
	}
}

// sample returns the first job of config/samples.
func sample(t *testing.T) *streamv1.StreamJob {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config", "samples", "first-job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	job := &streamv1.StreamJob{}
	if err := yaml.UnmarshalStrict(text, job); err != nil {
		t.Fatal(err)
	}
	return job
}

func freeAddress(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
