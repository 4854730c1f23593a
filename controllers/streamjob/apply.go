// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apply applies a configuration, unless the same was applied before and nobody has changed the object since. answer is an
// empty object of the kind, which takes the answer up.
func (s *scope) apply(ctx context.Context, config kruntime.ApplyConfiguration, answer client.Object) error {
	wanted, err := digest(config)
	if err != nil {
		return err
	}
	name, err := nameOf(config)
	if err != nil {
		return err
	}
	answer.SetName(name)
	object := refOf(answer)
	if live := s.live[object]; live != nil && s.mem.applied[object] == (applied{wanted, printOf(live)}) {
		return nil
	}
	ctrl.LoggerFrom(ctx).V(1).Info("Applying an object", "kind", object.kind, "object", name, "new", s.live[object] == nil)
	if err := s.Client.Apply(ctx, config, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("applying %s %s: %w", object.kind, name, err)
	}
	if err := convert(config, answer); err != nil {
		return fmt.Errorf("reading what was applied as %s: %w", name, err)
	}
	s.mem.wrote(answer, s.now)
	s.mem.applied[object] = applied{wanted, printOf(answer)}
	return nil
}

// nameOf returns the name in an apply configuration.
func nameOf(config kruntime.ApplyConfiguration) (string, error) {
	named, ok := config.(interface{ GetName() *string })
	if !ok || named.GetName() == nil {
		return "", fmt.Errorf("applying a %T: it has no name", config)
	}
	return *named.GetName(), nil
}

// convert turns an apply configuration, or the answer that was written into it, into an object of its kind.
func convert(config kruntime.ApplyConfiguration, o client.Object) error {
	b, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, o)
}

// printOf identifies all of an object that the operator may have applied: it changes when somebody edits the object, and not
// when its status changes.
func printOf(o client.Object) string {
	p := struct {
		UID        types.UID
		Generation int64
		Labels     map[string]string
		Owners     []metav1.OwnerReference
		Content    any
	}{o.GetUID(), o.GetGeneration(), o.GetLabels(), o.GetOwnerReferences(), nil}
	switch o := o.(type) { // kinds without a generation
	case *corev1.ConfigMap:
		p.Content = o.Data
	case *corev1.Service:
		p.Content = o.Spec
	}
	sum, err := digest(p)
	if err != nil {
		return "" // never equal to what was applied
	}
	return sum
}

// digest identifies a value by its JSON.
func digest(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding a %T: %w", v, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
