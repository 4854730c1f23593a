// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Restart says what happens after a failure. What it counts survives the loss of the coordinator. An error that a
// restart cannot mend, like state that does not fit the dataflow, ends the job at once under every strategy.
//
// +kubebuilder:validation:ExactlyOneOf=none;fixedDelay;failureRate;exponentialDelay
type Restart struct {
	// none makes the first failure final.
	// +optional
	None *NoRestart `json:"none,omitempty"`

	// fixedDelay restarts a fixed number of times in the life of the job.
	// +optional
	FixedDelay *FixedDelayRestart `json:"fixedDelay,omitempty"`

	// failureRate restarts as long as failures do not come too often.
	// +optional
	FailureRate *FailureRateRestart `json:"failureRate,omitempty"`

	// exponentialDelay restarts after a delay that grows with each failure and falls back when the job ran quietly.
	// +optional
	ExponentialDelay *ExponentialDelayRestart `json:"exponentialDelay,omitempty"`
}

// NoRestart makes the first failure final. It has no fields.
type NoRestart struct{}

// FixedDelayRestart restarts a fixed number of times in the life of the job.
//
// +kubebuilder:validation:XValidation:rule="!has(self.delay) || duration(self.delay) > duration('0s')",fieldPath=".delay",message="delay must be larger than 0s"
type FixedDelayRestart struct {
	// attempts is the number of restarts in the whole life of the job; it is never reset. Unset means unlimited.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	Attempts int32 `json:"attempts,omitempty"`

	// delay is the time from a failure to the restart. Unset means 1s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Delay metav1.Duration `json:"delay,omitempty,omitzero"`
}

// FailureRateRestart restarts as long as failures of a version do not come too often.
//
// +kubebuilder:validation:XValidation:rule="!has(self.delay) || duration(self.delay) > duration('0s')",fieldPath=".delay",message="delay must be larger than 0s"
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || duration(self.interval) > duration('0s')",fieldPath=".interval",message="interval must be larger than 0s"
type FailureRateRestart struct {
	// maxFailures is how many failures within any interval are tolerated; one more is final. Unset means 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxFailures int32 `json:"maxFailures,omitempty"`

	// interval is the length of time in which failures are counted. Unset means 1m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Interval metav1.Duration `json:"interval,omitempty,omitzero"`

	// delay is the time from a failure to the restart. Unset means 1s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Delay metav1.Duration `json:"delay,omitempty,omitzero"`
}

// ExponentialDelayRestart restarts after a delay that grows with each failure and falls back to the initial delay
// when the job ran for resetAfter without one, and for a new version.
//
// +kubebuilder:validation:XValidation:rule="!has(self.initialDelay) || duration(self.initialDelay) > duration('0s')",fieldPath=".initialDelay",message="initialDelay must be larger than 0s"
// +kubebuilder:validation:XValidation:rule="duration(has(self.initialDelay) ? self.initialDelay : '1s') <= duration(has(self.maxDelay) ? self.maxDelay : '1m')",fieldPath=".maxDelay",message="maxDelay (1m when unset) must not be smaller than initialDelay (1s when unset)"
// +kubebuilder:validation:XValidation:rule="!has(self.multiplier) || double(self.multiplier) >= 1.0",fieldPath=".multiplier",message="multiplier must be at least 1"
// +kubebuilder:validation:XValidation:rule="!has(self.jitter) || double(self.jitter) <= 1.0",fieldPath=".jitter",message="jitter must be between 0 and 1"
// +kubebuilder:validation:XValidation:rule="!has(self.resetAfter) || duration(self.resetAfter) > duration('0s')",fieldPath=".resetAfter",message="resetAfter must be larger than 0s"
type ExponentialDelayRestart struct {
	// initialDelay is the delay of the first restart. Unset means 1s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	InitialDelay metav1.Duration `json:"initialDelay,omitempty,omitzero"`

	// maxDelay is the longest delay. Unset means 1m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	MaxDelay metav1.Duration `json:"maxDelay,omitempty,omitzero"`

	// multiplier is the factor by which the delay grows, a decimal number in quotes, for example "1.5".
	// Unset means "1.5".
	// +optional
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	Multiplier string `json:"multiplier,omitempty"`

	// jitter is the part of the delay that is drawn at random, so that jobs that failed together do not restart
	// together: a decimal number in quotes between "0" and "1". With "0.1" a delay of 10s becomes 9s to 11s.
	// Unset means "0.1".
	// +optional
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	Jitter string `json:"jitter,omitempty"`

	// resetAfter is how long the job must run without a failure for the delay to fall back to initialDelay.
	// Unset means 1h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	ResetAfter metav1.Duration `json:"resetAfter,omitempty,omitzero"`

	// attempts is the number of restarts since the delay last fell back; one more failure is final.
	// Unset means unlimited.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	Attempts int32 `json:"attempts,omitempty"`
}
