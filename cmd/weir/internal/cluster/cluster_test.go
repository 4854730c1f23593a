// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/cmd/weir/internal/cluster"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

const kubeconfig = `
apiVersion: v1
kind: Config
current-context: first
contexts:
- {name: first, context: {cluster: c, user: u, namespace: analytics}}
- {name: second, context: {cluster: c, user: u}}
clusters: [{name: c, cluster: {server: "%s"}}]
users: [{name: u, user: {token: t}}]
`

// config writes a kubeconfig for a server and returns its path.
func config(t *testing.T, server string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, fmt.Appendf(nil, kubeconfig, server), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen_ReadsTheKubeconfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	path := config(t, "http://127.0.0.1:1")
	missing := filepath.Join(t.TempDir(), "missing")
	tests := map[string]struct {
		options cluster.Options
		want    string
		wantErr string
	}{
		"namespace of the current context":        {cluster.Options{Kubeconfig: path}, "analytics", ""},
		"another context without one":             {cluster.Options{Kubeconfig: path, Context: "second"}, "default", ""},
		"a namespace that is given":               {cluster.Options{Kubeconfig: path, Namespace: "mine"}, "mine", ""},
		"a context that is not there":             {cluster.Options{Kubeconfig: path, Context: "third"}, "", `no context "third"`},
		"a file that is not there":                {cluster.Options{Kubeconfig: missing}, "", "reading the kubeconfig: stat " + missing},
		"a file that is not there, and a context": {cluster.Options{Kubeconfig: missing, Context: "first"}, "", "reading the kubeconfig: stat " + missing},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := cluster.Open(tc.options)
			switch {
			case tc.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("got error %v, want %q", err, tc.wantErr)
				}
			case err != nil:
				t.Errorf("opening: %v", err)
			case c.Namespace != tc.want:
				t.Errorf("got namespace %q, want %q", c.Namespace, tc.want)
			}
		})
	}
}

// refusal is how an API server says no.
func refusal(err *apierrors.StatusError) metav1.Status {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return status
}

// answer is a server that gives every request the same answer.
func answer(t *testing.T, code int, body any) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if text, ok := body.(string); ok {
			_, _ = w.Write([]byte(text))
			return
		}
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestGet_SaysWhatIsWrong(t *testing.T) {
	jobs := schema.GroupResource{Group: streamv1.GroupName, Resource: "streamjobs"}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	tests := map[string]struct {
		server string
		want   string
	}{
		"no such job": {answer(t, 404, refusal(apierrors.NewNotFound(jobs, "page-views"))), `there is no StreamJob "page-views" in namespace "analytics": "kubectl get streamjobs`},
		"no such resource": {
			answer(t, 404, "404 page not found\n"), `the cluster doesn't know StreamJobs: install Weir in it, with "kubectl apply -k config/default" in a clone of its repository`,
		},
		"forbidden": {
			answer(t, 403, refusal(apierrors.NewForbidden(jobs, "page-views", errors.New("no")))),
			`(ask for the ClusterRole weir-editor in namespace "analytics", or weir-viewer to look only)`,
		},
		"not logged in": {answer(t, 401, refusal(apierrors.NewUnauthorized("who?"))), "the cluster refuses the credentials of the kubeconfig"},
		"nobody there":  {closed.URL, "the cluster doesn't answer at 127.0.0.1:"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := cluster.Open(cluster.Options{Kubeconfig: config(t, tc.server)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get(t.Context(), "page-views"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// What the program asks for is known without a look at what the API server has.
func TestSnapshots_AreListed(t *testing.T) {
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(streamv1.StreamSnapshotList{
			TypeMeta: metav1.TypeMeta{APIVersion: streamv1.SchemeGroupVersion.String(), Kind: "StreamSnapshotList"},
			Items:    []streamv1.StreamSnapshot{{ObjectMeta: metav1.ObjectMeta{Name: "daily"}}},
		})
	}))
	t.Cleanup(server.Close)
	c, err := cluster.Open(cluster.Options{Kubeconfig: config(t, server.URL)})
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.Snapshots(t.Context(), "")
	if err != nil || len(found) != 1 || found[0].Name != "daily" || path != "/apis/stream.weir.dev/v1alpha1/namespaces/analytics/streamsnapshots" {
		t.Errorf("Snapshots() = %v, %v, asked for %s", found, err, path)
	}
}

func TestPatch_SendsOneFieldAndNoMore(t *testing.T) {
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body strings.Builder
		_, _ = fmt.Fprint(&body, r.Method, " ", r.URL, " ", r.Header.Get("Content-Type"), " ")
		buffer := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(buffer)
		got = append(got, body.String()+string(buffer))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Name: "page-views", Generation: 7}})
	}))
	t.Cleanup(s.Close)
	c, err := cluster.Open(cluster.Options{Kubeconfig: config(t, s.URL)})
	if err != nil {
		t.Fatal(err)
	}
	job, err := c.Patch(t.Context(), "page-views", map[string]any{"state": streamv1.StateSuspended})
	if err != nil || job.Generation != 7 {
		t.Errorf("got %+v, %v", job, err)
	}
	want := []string{
		"PATCH /apis/stream.weir.dev/v1alpha1/namespaces/analytics/streamjobs/page-views?fieldManager=kubectl-weir " +
			`application/merge-patch+json {"spec":{"state":"Suspended"}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func job() *streamv1.StreamJob {
	return &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "page-views", UID: "u-1"},
		Status:     streamv1.StreamJobStatus{Phase: streamv1.PhaseRunning, Deployment: &streamv1.DeploymentReport{Grant: 4}},
	}
}

func inFake(f interceptor.Funcs, objects ...client.Object) *cluster.Cluster {
	c := fake.NewClientBuilder().WithScheme(cluster.Scheme()).WithObjects(objects...).WithInterceptorFuncs(f).Build()
	return &cluster.Cluster{Client: c, Namespace: "default"}
}

func TestWait_SurvivesAnAPIServerThatGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gets, watches := 0, 0
		c := inFake(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				if gets++; gets == 2 {
					return errors.New("connection refused")
				}
				return c.Get(ctx, key, obj, opts...)
			},
			Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
				if watches++; watches == 1 {
					return nil, errors.New("connection refused")
				}
				w := watch.NewFake()
				go w.Stop()
				return w, nil
			},
		}, job())
		began, seen := time.Now(), 0
		err := c.Wait(t.Context(), "page-views", func(*streamv1.StreamJob) (bool, error) {
			seen++
			return seen == 3, nil
		})
		if err != nil || gets != 4 || watches != 2 || time.Since(began) != 3*time.Second {
			t.Errorf("got error %v after %d reads, %d watches and %s", err, gets, watches, time.Since(began))
		}
	})
}

func TestWait_EndsAtOnceWhenTheFirstReadFails(t *testing.T) {
	want := errors.New("no")
	c := inFake(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return want
		},
	})
	err := c.Wait(t.Context(), "page-views", func(*streamv1.StreamJob) (bool, error) {
		t.Error("there is nothing to judge")
		return true, nil
	})
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestWait_NeedsTheRightToWatch(t *testing.T) {
	c := inFake(interceptor.Funcs{
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "streamjobs"}, "", errors.New("no"))
		},
	}, job())
	err := c.Wait(t.Context(), "page-views", func(*streamv1.StreamJob) (bool, error) { return false, nil })
	if err == nil || !strings.Contains(err.Error(), "watching the StreamJob") {
		t.Errorf("got %v", err)
	}
}

// coordinator serves a control API as a job's coordinator does, and returns its address and the secret for its clients.
func coordinator(t *testing.T) (addr string, secret *corev1.Secret) {
	t.Helper()
	authority, err := certs.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, _ := authority.PEM()
	issue := func(role certs.Role) (cert, key []byte) {
		cert, key, err := authority.Issue(role, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	pair, err := tls.X509KeyPair(issue(certs.Coordinator))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(contract.CheckpointsReport{Completed: 8})
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	s.StartTLS()
	t.Cleanup(s.Close)
	cert, key := issue(certs.Client)
	return s.Listener.Addr().String(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "page-views-client-tls"},
		Data:       map[string][]byte{"ca.crt": ca, "client.crt": cert, "client.key": key},
	}
}

// tunnel leads to an address, whatever the pod.
type tunnel struct {
	addr string
	err  error
	used string
}

func (f *tunnel) Forward(_ context.Context, pod string, port int) (string, error) {
	f.used = fmt.Sprintf("%s:%d", pod, port)
	return f.addr, f.err
}

func coordinatorPod(grant int64, ready corev1.ConditionStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprintf("page-views-%d-coordinator-x", grant),
			Labels: resources.Labels("page-views", grant, resources.CoordinatorComponent),
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
}

// startedPod is one that its probe has not made ready, that was restarted as often, and that started so long ago.
func startedPod(grant int64, restarts int32, ago time.Duration) *corev1.Pod {
	pod := coordinatorPod(grant, corev1.ConditionFalse)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: resources.CoordinatorComponent, RestartCount: restarts, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-ago))}},
	}}
	return pod
}

// A job runs, and is Ready, some seconds before the probe of its coordinator's pod has succeeded.
func TestControlAPI_AsksACoordinatorThatHasJustStarted(t *testing.T) {
	addr, secret := coordinator(t)
	c := inFake(interceptor.Funcs{}, job(), secret, startedPod(4, 0, time.Second))
	c.Forward = &tunnel{addr: addr}
	api, err := c.ControlAPI(t.Context(), job())
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if history, err := api.Checkpoints(t.Context()); err != nil || history.Completed != 8 {
		t.Errorf("got %+v, %v", history, err)
	}
}

func TestControlAPI_ShowsTheCertificateOfAClient(t *testing.T) {
	addr, secret := coordinator(t)
	c := inFake(interceptor.Funcs{}, job(), secret, coordinatorPod(3, corev1.ConditionTrue), coordinatorPod(4, corev1.ConditionTrue))
	f := &tunnel{addr: addr}
	c.Forward = f
	api, err := c.ControlAPI(t.Context(), job())
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	history, err := api.Checkpoints(t.Context())
	if err != nil || history.Completed != 8 || f.used != "page-views-4-coordinator-x:8081" {
		t.Errorf("got %+v, %v through %s", history, err, f.used)
	}
}

func TestControlAPI_SaysWhatIsMissing(t *testing.T) {
	addr, secret := coordinator(t)
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "page-views-client-tls", errors.New("no"))
	noSecrets := interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return forbidden
		},
	}
	ended, never := job(), job()
	ended.Status.Deployment.Ended, ended.Status.Phase = streamv1.EndStopped, streamv1.PhaseSuspended
	never.Status = streamv1.StreamJobStatus{}
	tests := map[string]struct {
		job     *streamv1.StreamJob
		funcs   interceptor.Funcs
		objects []client.Object
		tunnel  error
		want    string
	}{
		"a suspended job":     {ended, interceptor.Funcs{}, nil, nil, "StreamJob page-views is suspended, so no coordinator runs"},
		"a job never started": {never, interceptor.Funcs{}, nil, nil, "StreamJob page-views is pending, so no coordinator runs"},
		"a pod that crashes":  {job(), interceptor.Funcs{}, []client.Object{coordinatorPod(4, corev1.ConditionFalse)}, nil, `isn't ready to answer ("weir status page-views" shows why)`},
		"a pod that crashes and was just restarted": {
			job(), interceptor.Funcs{}, []client.Object{startedPod(4, 3, time.Second)}, nil, `isn't ready to answer ("weir status page-views" shows why)`,
		},
		"a pod that has stopped to answer": {
			job(), interceptor.Funcs{}, []client.Object{startedPod(4, 0, time.Hour)}, nil, `isn't ready to answer ("weir status page-views" shows why)`,
		},
		"no right to secrets": {
			job(), noSecrets,
			[]client.Object{coordinatorPod(4, corev1.ConditionTrue)},
			nil,
			"can be called by who may get the secret page-views-client-tls in namespace",
		},
		"no right to tunnels": {
			job(),
			interceptor.Funcs{},
			[]client.Object{coordinatorPod(4, corev1.ConditionTrue), secret},
			forbidden,
			"can be called by who may create pods/portforward in namespace",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := inFake(tc.funcs, tc.objects...)
			c.Forward = &tunnel{addr: addr, err: tc.tunnel}
			if _, err := c.ControlAPI(t.Context(), tc.job); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
