// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// probeInterval is the interval of a StreamJob that values are tried on.
const probeInterval = 10 * time.Second

// probe returns the StreamJob that values are tried on: the smallest one that is valid.
func probe() *streamv1.StreamJob {
	return &streamv1.StreamJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: streamv1.SchemeGroupVersion.String(), Kind: "StreamJob"},
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec: streamv1.StreamJobSpec{Dataflow: &streamv1.Dataflow{Operators: []streamv1.Operator{
			{Name: "numbers", Generator: &streamv1.GeneratorSource{}},
			{Name: "log", Inputs: []streamv1.OperatorName{"numbers"}, Log: &streamv1.LogSink{}},
		}}},
	}
}
