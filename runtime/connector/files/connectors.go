// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
)

// minPollInterval is the least time between two listings.
const minPollInterval = 10 * time.Millisecond

// Connectors makes the sources and sinks of declarative jobs. Safe for use by several goroutines.
type Connectors struct {
	// Job is the configuration of the job: an operator without S3 settings uses those of the job's storage.
	Job contract.JobConfig

	open opener
}

// settings returns the S3 settings for an operator.
func (c Connectors) settings(own *contract.S3) *contract.S3 {
	if own == nil && c.Job.Storage != nil {
		return c.Job.Storage.S3
	}
	return own
}

// FilesSource returns a source of the lines of files.
func (c Connectors) FilesSource(_ string, spec *contract.FilesSource, newDecoder func() format.Decoder) (func() operator.Source, error) {
	in := input{
		path: spec.Path, settings: c.settings(spec.S3), continuous: spec.Continuous != nil, interval: defaultPollInterval,
		policy: policy(spec.OnMalformed), open: c.open,
		dead: target{path: spec.DeadLetterPath, settings: c.settings(spec.S3), suffix: finalSuffix, open: c.open},
	}
	if in.policy == "" {
		in.policy = failOnMalformed
	}
	if spec.Continuous != nil && spec.Continuous.PollInterval != 0 {
		in.interval = spec.Continuous.PollInterval.D()
	}
	err := errors.Join(in.check(), checkBucket(spec.Path, spec.S3))
	if in.policy == deadLetter && in.continuous && c.Job.Checkpointing == nil {
		err = errors.Join(err, errors.New("onMalformed DeadLetter needs checkpointing when the source is continuous: "+
			"dead letters become visible when a checkpoint has completed"))
	}
	if err != nil {
		return nil, err
	}
	return func() operator.Source { return &source{lineReader: lineReader{in: in}, newDecoder: newDecoder} }, nil
}

// check looks for mistakes.
func (in *input) check() error {
	var errs []error
	switch {
	case in.path == "":
		errs = append(errs, errors.New("path is empty: give a file, a directory, a pattern or s3://bucket/prefix"))
	case isS3(in.path):
		if _, _, err := splitS3(in.path); err != nil {
			errs = append(errs, err)
		}
	}
	if in.interval < minPollInterval {
		errs = append(errs, fmt.Errorf("continuous.pollInterval is %s, but must be at least %s", in.interval, minPollInterval))
	}
	switch in.policy {
	case failOnMalformed, skipMalformed:
		if in.dead.path != "" {
			errs = append(errs, fmt.Errorf("a dead-letter path is given, but onMalformed is %s: set it to DeadLetter or leave the path out", in.policy))
		}
	case deadLetter:
		if _, err := output(in.dead.path, in.dead.settings); err != nil {
			errs = append(errs, fmt.Errorf("onMalformed is DeadLetter: dead-letter %w", err))
		}
	default:
		errs = append(errs, fmt.Errorf("onMalformed %q is not one of Fail, Skip, DeadLetter", in.policy))
	}
	return errors.Join(errs...)
}

// FileSink returns a transactional sink of files.
func (c Connectors) FileSink(_ string, spec *contract.FileSink, newEncoder func() format.Encoder) (func() operator.Operator, error) {
	to := target{path: spec.Path, settings: c.settings(spec.S3), suffix: finalSuffix, open: c.open}
	_, err := output(to.path, to.settings)
	if err := errors.Join(err, checkBucket(spec.Path, spec.S3)); err != nil {
		return nil, err
	}
	return func() operator.Operator { return &sink{to: to, newEncoder: newEncoder} }, nil
}
