// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// plugin is the weir program, called as kubectl would call it.
type plugin struct {
	c                   *cluster
	program, kubeconfig string
}

// TestPlugin goes through the life of jobs by the commands of the plugin, against a real API server and the operator.
func TestPlugin(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "kubectl-weir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	tests := map[string]func(*plugin){
		"looks after a job":         looksAfterAJob,
		"controls a job":            controlsAJob,
		"deletes with a savepoint":  deletesWithASavepoint,
		"says what is in the way":   saysWhatIsInTheWay,
		"says who may do something": saysWhoMay,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			c.startTwo()
			test(newPlugin(t, c, program))
		})
	}
}

// newPlugin makes a kubeconfig of the API server with a second context "viewer", for somebody who may do nothing yet.
func newPlugin(t *testing.T, c *cluster, program string) *plugin {
	t.Helper()
	p := &plugin{c: c, program: program, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server.Host, CertificateAuthorityData: server.CAData}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: server.CertData, ClientKeyData: server.KeyData}
	config.AuthInfos["viewer"] = config.AuthInfos["admin"].DeepCopy()
	config.AuthInfos["viewer"].Impersonate = "viewer"
	for _, name := range []string{"admin", "viewer"} {
		config.Contexts[name] = &clientcmdapi.Context{Cluster: "c", AuthInfo: name, Namespace: c.namespace}
	}
	config.CurrentContext = "admin"
	if err := clientcmd.WriteToFile(*config, p.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return p
}

// run runs a command line and returns what it printed and its exit code.
func (p *plugin) run(args ...string) (stdout, stderr string, code int) {
	p.c.t.Helper()
	ctx, cancel := context.WithTimeout(p.c.t.Context(), 2*patience)
	defer cancel()
	args = append(args, "--kubeconfig", p.kubeconfig)
	var out, errs bytes.Buffer
	command := exec.CommandContext(ctx, p.program, args...)
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil && command.ProcessState == nil {
		p.c.t.Fatalf("running weir %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// prints fails unless a command succeeds and prints one line.
func (p *plugin) prints(want string, args ...string) {
	p.c.t.Helper()
	stdout, stderr, code := p.run(args...)
	if code != 0 || stdout != want+"\n" {
		p.c.t.Errorf("weir %s: exit code %d, printed %q, want %q\n%s", strings.Join(args, " "), code, stdout, want, stderr)
	}
}

// newestSavepoint is the path of the savepoint that storage got last.
func (p *plugin) newestSavepoint() string {
	saved := p.c.storage.lineage("j").savepoints()
	if len(saved) == 0 {
		return "none"
	}
	return saved[len(saved)-1].Path
}

// savesElsewhere takes a savepoint below a target, and looks at what was changed for that.
func (p *plugin) savesElsewhere() {
	t, c := p.c.t, p.c
	stdout, stderr, code := p.run("savepoint", "j", "--target", "mine")
	if code != 0 || stdout != p.newestSavepoint()+"\n" {
		t.Errorf("savepoint: exit code %d, printed %q, want %s\n%s", code, stdout, p.newestSavepoint(), stderr)
	}
	job := c.running()
	if s := job.Spec.Savepoint; s == nil || s.Target != "mine" || s.Trigger != job.Status.SavepointTrigger {
		t.Errorf("the spec asks for %+v, and %q is done", s, job.Status.SavepointTrigger)
	}
	owned := false
	for _, f := range job.ManagedFields {
		owned = owned || f.Manager == "kubectl-weir" && f.FieldsV1.GetRawString() == `{"f:spec":{"f:savepoint":{".":{},"f:target":{},"f:trigger":{}}}}`
	}
	if !owned {
		t.Errorf("kubectl-weir does not own just what it set: %+v", job.ManagedFields)
	}
}

func looksAfterAJob(p *plugin) {
	t, c := p.c.t, p.c
	p.savesElsewhere()
	stdout, stderr, code := p.run("suspend", "j")
	if code != 0 || stdout != p.newestSavepoint()+"\n" || c.job().Status.Phase != streamv1.PhaseSuspended {
		t.Errorf("suspend: exit code %d, printed %q, want %s; the job is %s\n%s", code, stdout, p.newestSavepoint(), c.job().Status.Phase, stderr)
	}
	if _, stderr, code = p.run("savepoint", "j"); code != 1 || !strings.Contains(stderr, "StreamJob j is suspended: "+p.newestSavepoint()) {
		t.Errorf("savepoint of a suspended job: exit code %d, %s", code, stderr)
	}
	p.prints(p.newestSavepoint(), "resume", "j")
	if stdout, _, code = p.run("status", "j"); code != 0 || !strings.Contains(stdout, "grant 2") || !strings.Contains(stdout, "j-2-worker-0") {
		t.Errorf("status: exit code %d, printed\n%s", code, stdout)
	}
	if stdout, stderr, code = p.run("delete", "j"); code != 0 || stdout != "deleted\n" || !strings.Contains(stderr, "checkpoints and savepoints stay") {
		t.Errorf("delete: exit code %d, printed %q, %s", code, stdout, stderr)
	}
	c.gone()
}

// controlsAJob asks for each control, and looks whether the command waits for what it asked for.
func controlsAJob(p *plugin) {
	t, c := p.c.t, p.c
	stdout, stderr, code := p.run("checkpoint", "j")
	if s := c.job().Status; code != 0 || s.CheckpointTrigger == "" || stdout != fmt.Sprintf("checkpoint %d completed\n", s.LastCheckpoint.ID) {
		t.Errorf("checkpoint: exit code %d, printed %q\n%s", code, stdout, stderr)
	}
	stdout, stderr, code = p.run("restart", "j")
	if s := c.job().Status; code != 0 || stdout != p.newestSavepoint()+"\n" || s.Grant != 2 || s.RestartNonce == "" {
		t.Errorf("restart: exit code %d, printed %q, want %s; grant %d\n%s", code, stdout, p.newestSavepoint(), s.Grant, stderr)
	}
	p.prints("paused", "pause", "j")
	p.prints("unpaused", "unpause", "j")
	stdout, stderr, code = p.run("cancel", "j")
	if code != 0 || stdout != "cancelled\n" || c.job().Status.Phase != streamv1.PhaseCancelled || !strings.Contains(stderr, "weir resume j goes on from them") {
		t.Errorf("cancel: exit code %d, printed %q, the job is %s\n%s", code, stdout, c.job().Status.Phase, stderr)
	}
	if stdout, stderr, code = p.run("resume", "j"); code != 0 || stdout == "-\n" {
		t.Errorf("resume: exit code %d, printed %q\n%s", code, stdout, stderr)
	}
	stdout, stderr, code = p.run("history", "j")
	if code != 0 || strings.Count(stdout, "\n") != 4 || !strings.Contains(stdout, "Cancelled") {
		t.Errorf("history: exit code %d, printed\n%s%s", code, stdout, stderr)
	}
}

// deletesWithASavepoint looks whether the path of the savepoint is printed though the StreamJob that names it goes.
func deletesWithASavepoint(p *plugin) {
	stdout, stderr, code := p.run("delete", "j", "--savepoint")
	if code != 0 || stdout != p.newestSavepoint()+"\n" {
		p.c.t.Errorf("exit code %d, printed %q, want %s\n%s", code, stdout, p.newestSavepoint(), stderr)
	}
	p.c.gone()
}

func saysWhatIsInTheWay(p *plugin) {
	t, c := p.c.t, p.c
	c.storage.set(func(s *script) { s.savepoint = "connection refused" })
	_, stderr, code := p.run("suspend", "j", "--timeout", "3s")
	if code != 3 || !strings.Contains(stderr, "weir: gave up waiting after 3s") || strings.Count(stderr, "connection refused") < 2 {
		t.Errorf("suspend: exit code %d\n%s", code, stderr)
	}
	if _, stderr, code = p.run("suspend", "other"); code != 1 || !strings.Contains(stderr, `there is no StreamJob "other" in namespace "`+c.namespace+`"`) {
		t.Errorf("suspend of a job that is not there: exit code %d\n%s", code, stderr)
	}
}

func saysWhoMay(p *plugin) {
	t := p.c.t
	_, stderr, code := p.run("suspend", "j", "--context", "viewer")
	if code != 1 || !strings.Contains(stderr, "weir-editor") {
		t.Errorf("suspend by who may not: exit code %d\n%s", code, stderr)
	}
	grantView(t, p.c.namespace)
	p.c.eventually("who may look at StreamJobs sees the status", func() error {
		stdout, stderr, code := p.run("status", "j", "--context", "viewer")
		if code != 0 || !strings.Contains(stdout, "Running") || !strings.Contains(stderr, "listing the pods") {
			return fmt.Errorf("exit code %d, printed\n%s%s", code, stdout, stderr)
		}
		return nil
	})
}

// grantView lets the user "viewer" look at StreamJobs, and at nothing else.
func grantView(t *testing.T, namespace string) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "viewer"}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{streamv1.GroupName}, Resources: []string{"streamjobs"}, Verbs: []string{"get", "list", "watch"}},
	}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "viewer"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "viewer"}},
	}
	if err := admin.Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}
