// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
)

const (
	apiHeaderTimeout = 5 * time.Second
	apiReadTimeout   = 10 * time.Second
	apiIdleTimeout   = time.Minute
	apiCallTimeout   = 10 * time.Second
	apiHeaderBytes   = 16 << 10
)

// operationIDs are part of object names, so they are short and plain.
var operationIDs = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// submission is an operation that was asked for.
type submission struct {
	id     string
	typ    contract.OperationType
	target string
	drain  bool
	// timeout gives a savepoint up; 0: the checkpoint timeout.
	timeout time.Duration
	// savepoint makes a cancellation take one first.
	savepoint bool
}

// jobControl is what the API needs of the loop. Every method returns when ctx ends.
type jobControl interface {
	status(ctx context.Context) (*contract.JobStatus, error)
	checkpoints(ctx context.Context) (*contract.CheckpointsReport, error)
	checkpoint(ctx context.Context, id int64) (*contract.CheckpointDetail, error)
	submit(ctx context.Context, s submission) (contract.Operation, error)
	operation(ctx context.Context, id string, wait time.Duration) (contract.Operation, error)
	setPolicy(ctx context.Context, p contract.Policy) (contract.Policy, error)
}

// api serves the control API of one job.
type api struct {
	control jobControl
	metrics http.Handler
	log     logr.Logger
	secure  bool
}

// newAPIServer returns the server of the control API. With TLS it asks for client certificates and
// demands them of everything but the health checks, which a prober without one must reach.
func newAPIServer(c jobControl, metrics http.Handler, secure *tls.Config, log logr.Logger) *http.Server {
	a := &api{control: c, metrics: metrics, log: log, secure: secure != nil}
	s := &http.Server{
		Handler:           a.routes(),
		ReadHeaderTimeout: apiHeaderTimeout,
		ReadTimeout:       apiReadTimeout,
		WriteTimeout:      contract.MaxWait + apiCallTimeout,
		IdleTimeout:       apiIdleTimeout,
		MaxHeaderBytes:    apiHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(log.V(1)), slog.LevelInfo),
	}
	if secure != nil {
		s.TLSConfig = secure.Clone()
		s.TLSConfig.ClientAuth = tls.VerifyClientCertIfGiven
		if secure.ClientAuth == tls.RequireAnyClientCert { // VerifyConnection does it
			s.TLSConfig.ClientAuth = tls.RequestClientCert
		}
		if verify := secure.VerifyConnection; verify != nil {
			s.TLSConfig.VerifyConnection = func(cs tls.ConnectionState) error {
				if len(cs.PeerCertificates) == 0 {
					return nil // the guard refuses it unless it is a health check
				}
				return verify(cs)
			}
		}
	}
	return s
}

func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{contract.PathHealth, contract.PathLive} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "ok\n")
		})
	}
	mux.HandleFunc("GET "+contract.PathReady, a.ready)
	mux.Handle("GET "+contract.PathMetrics, a.guard(a.metrics))
	handle := func(pattern string, f func(r *http.Request) (any, int, error)) {
		mux.Handle(pattern, a.guard(a.answer(f)))
	}
	handle("GET "+contract.PathJob, a.job)
	handle("GET "+contract.PathCheckpoints, a.history)
	handle("GET "+contract.PathCheckpoints+"/{id}", a.detail)
	handle("POST "+contract.PathCheckpoints, a.checkpoint)
	handle("POST "+contract.PathSavepoints, a.savepoint)
	handle("POST "+contract.PathStop, a.stop)
	handle("POST "+contract.PathCancel, a.cancel)
	handle("GET "+contract.PathOperations+"/{id}", a.operation)
	handle("PUT "+contract.PathPolicy, a.policy)
	handle("POST "+contract.PathActivate, a.activate)
	mux.Handle("/", a.answer(notFound))
	return mux
}

func notFound(r *http.Request) (any, int, error) {
	return nil, 0, &contract.APIError{
		Status:  http.StatusNotFound,
		Message: fmt.Sprintf("the control API has no %s %s", r.Method, r.URL.Path),
		Remedy:  "docs/reference/control-api.md lists the endpoints",
	}
}

// guard refuses callers without a verified certificate when TLS is on.
func (a *api) guard(next http.Handler) http.Handler {
	if !a.secure {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 { // one that was given was verified in the handshake
			a.writeError(w, &contract.APIError{
				Status:  http.StatusUnauthorized,
				Message: "a client certificate is needed",
				Remedy:  "use one signed by the authority of the job",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *api) answer(f func(r *http.Request) (any, int, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, contract.MaxRequestBytes)
		body, code, err := f(r)
		if err != nil {
			a.writeError(w, err)
			return
		}
		a.write(w, code, body)
	})
}

func (a *api) write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(body); err != nil {
		a.log.V(1).Info("Answering a request of the control API ended early", "reason", err.Error())
	}
}

func (a *api) writeError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*contract.APIError](err)
	if !ok {
		e = &contract.APIError{Status: http.StatusServiceUnavailable, Message: err.Error()}
		if errors.Is(err, context.DeadlineExceeded) {
			e.Status, e.Remedy = http.StatusGatewayTimeout, "the coordinator is busy; try again"
		}
	}
	if e.Status == 0 {
		e.Status = http.StatusInternalServerError
	}
	a.write(w, e.Status, e)
}

func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), apiCallTimeout)
	defer cancel()
	s, err := a.control.status(ctx)
	if err != nil {
		a.writeError(w, err)
		return
	}
	if s.State == contract.JobStarting {
		a.writeError(w, &contract.APIError{Status: http.StatusServiceUnavailable, Message: "the coordinator is starting"})
		return
	}
	if s.Standby != nil && !s.Standby.Ready {
		a.writeError(w, &contract.APIError{Status: http.StatusServiceUnavailable, Message: s.Message})
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (a *api) job(r *http.Request) (any, int, error) {
	ctx, cancel := context.WithTimeout(r.Context(), apiCallTimeout)
	defer cancel()
	s, err := a.control.status(ctx)
	return s, http.StatusOK, err
}

func (a *api) history(r *http.Request) (any, int, error) {
	ctx, cancel := context.WithTimeout(r.Context(), apiCallTimeout)
	defer cancel()
	s, err := a.control.checkpoints(ctx)
	return s, http.StatusOK, err
}

func (a *api) detail(r *http.Request) (any, int, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return nil, 0, badRequest(fmt.Sprintf("%q is not the id of a checkpoint", r.PathValue("id")), "give a number; GET "+contract.PathCheckpoints+" lists them")
	}
	ctx, cancel := context.WithTimeout(r.Context(), apiCallTimeout)
	defer cancel()
	d, err := a.control.checkpoint(ctx, id)
	return d, http.StatusOK, err
}

func (a *api) checkpoint(r *http.Request) (any, int, error) {
	var q contract.CheckpointRequest
	if err := decode(r, &q); err != nil {
		return nil, 0, err
	}
	return a.submit(r, submission{id: q.OperationID, typ: contract.CheckpointOperation})
}

func (a *api) savepoint(r *http.Request) (any, int, error) {
	var q contract.SavepointRequest
	if err := decode(r, &q); err != nil {
		return nil, 0, err
	}
	return a.submit(r, submission{id: q.OperationID, typ: contract.SavepointOperation, target: q.Target, timeout: q.Timeout.D()})
}

func (a *api) stop(r *http.Request) (any, int, error) {
	var q contract.StopRequest
	if err := decode(r, &q); err != nil {
		return nil, 0, err
	}
	return a.submit(r, submission{id: q.OperationID, typ: contract.StopOperation, target: q.Target, drain: q.Drain, timeout: q.Timeout.D()})
}

func (a *api) cancel(r *http.Request) (any, int, error) {
	var q contract.CancelRequest
	if err := decode(r, &q); err != nil {
		return nil, 0, err
	}
	if q.Target != "" && !q.Savepoint {
		return nil, 0, badRequest("a target is given but no savepoint is asked for", `set "savepoint": true or leave the target out`)
	}
	return a.submit(r, submission{
		id: q.OperationID, typ: contract.CancelOperation, target: q.Target, savepoint: q.Savepoint, timeout: q.Timeout.D(),
	})
}

func (a *api) submit(r *http.Request, s submission) (any, int, error) {
	ctx, cancel := context.WithTimeout(r.Context(), apiCallTimeout)
	defer cancel()
	op, err := a.control.submit(ctx, s)
	return op, http.StatusAccepted, err
}

func (a *api) operation(r *http.Request) (any, int, error) {
	var wait time.Duration
	if v := r.URL.Query().Get("wait"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return nil, 0, badRequest(fmt.Sprintf("wait=%q is not a duration", v), `give one such as "10s"`)
		}
		wait = min(d, contract.MaxWait)
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait+apiCallTimeout)
	defer cancel()
	op, err := a.control.operation(ctx, r.PathValue("id"), wait)
	return op, http.StatusOK, err
}

func badRequest(message, remedy string) error {
	return &contract.APIError{Status: http.StatusBadRequest, Message: message, Remedy: remedy}
}

func conflict(message, remedy string) error {
	return &contract.APIError{Status: http.StatusConflict, Message: message, Remedy: remedy}
}

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &contract.APIError{
				Status:  http.StatusRequestEntityTooLarge,
				Message: fmt.Sprintf("the request is larger than %d bytes", contract.MaxRequestBytes),
				Remedy:  oneObject,
			}
		}
		return badRequest(fmt.Sprintf("the request can't be read: %v", err), oneObject)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("something follows the request", oneObject)
	}
	return nil
}

const oneObject = "send one JSON object with the documented fields"

// serveAPI serves until the listener closes.
func serveAPI(s *http.Server, l net.Listener) error {
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving the control API: %w", err)
}
