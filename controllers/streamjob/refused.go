// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"errors"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/controllers/streamjob/observe"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

// retryRefused is how soon an object is tried again that the API server refuses as it is.
const retryRefused = 10 * time.Second

// refusals is what the planner hears of objects that could not be made, by the grant of the version or the name of the agent pod.
type refusals struct {
	versions map[int64]plan.Refusal
	agents   map[string]plan.Refusal
}

// makes says that an action makes objects of a version, or an agent pod. Nothing that is planned beside it depends on that.
func makes(a plan.Action) bool {
	switch a.(type) {
	case plan.Apply, plan.RunAgent:
		return true
	default:
		return false
	}
}

// note takes up why an action could not make what it should. It is returned as far as the planner will not say so itself.
func (s *scope) note(all *refusals, a plan.Action, err error) *refusal {
	r := plan.Refusal{Message: err.Error(), Lasts: lasts(err), Alone: observe.ExceedsQuota(err.Error())}
	if r.Lasts && !errors.Is(err, certs.ErrForeign) {
		r.Message += " (raise the quota or change the rule that refuses it, or adapt the spec)"
	}
	told := &refusal{reason: streamv1.ReasonActionFailed, lasts: r.Lasts}
	switch a := a.(type) {
	case plan.Apply:
		if s.hasPods(a.Grant) || s.runs(a.Grant) {
			return told // what it needs to run was made before
		}
		if all.versions == nil {
			all.versions = map[int64]plan.Refusal{}
		}
		all.versions[a.Grant] = r
	case plan.RunAgent:
		if !r.Lasts {
			return told
		}
		if all.agents == nil {
			all.agents = map[string]plan.Refusal{}
		}
		all.agents[a.Name] = r
	}
	if r.Lasts {
		return nil
	}
	return told
}

// hasPods says that a grant has what makes its pods.
func (s *scope) hasPods(grant int64) bool {
	return s.live[ref{kindOf(&appsv1.Deployment{}), resources.Name(s.job.Name, grant, resources.CoordinatorComponent)}] != nil &&
		s.live[ref{kindOf(&appsv1.StatefulSet{}), resources.Name(s.job.Name, grant, resources.WorkerComponent)}] != nil
}

// runs says that the tasks of a grant run.
func (s *scope) runs(grant int64) bool {
	e := s.Engines.Report(s.key)
	return e != nil && e.Grant == grant && e.Status != nil && e.Status.State == contract.JobRunning
}

// lasts says that it is no use to try again at once: it is the request that the API server refuses, or somebody else has the name.
func lasts(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return errors.Is(err, certs.ErrForeign)
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	default:
		return code >= http.StatusBadRequest && code < http.StatusInternalServerError
	}
}

// hear remembers what was refused for the next pass, which is due at once when that is news.
func (s *scope) hear(all refusals) {
	was := s.mem.refused
	s.mem.refused = all
	switch {
	case !sameKeys(was.versions, all.versions) || !sameKeys(was.agents, all.agents):
		s.lookAgain(retryStale)
	case len(all.versions)+len(all.agents) > 0:
		s.lookAgain(retryRefused)
	}
}

func sameKeys[K comparable](a, b map[K]plan.Refusal) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if _, ok := b[k]; !ok {
			return false
		}
	}
	return true
}

// into adds what was refused to what the planner decides from.
func (r refusals) into(o *plan.Observation) {
	for i := range o.Versions {
		if refused, ok := r.versions[o.Versions[i].Grant]; ok {
			o.Versions[i].Refused = &refused
		}
	}
	o.Refused = r.agents
}
