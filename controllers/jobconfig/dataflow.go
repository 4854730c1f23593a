// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

func dataflowOf(d *streamv1.Dataflow) *contract.Dataflow {
	if d == nil {
		return nil
	}
	out := &contract.Dataflow{Operators: make([]contract.Operator, 0, len(d.Operators))}
	for i := range d.Operators {
		out.Operators = append(out.Operators, operatorOf(&d.Operators[i]))
	}
	return out
}

func operatorOf(o *streamv1.Operator) contract.Operator {
	out := contract.Operator{
		Name:          string(o.Name),
		PreviousNames: stringsOf(o.PreviousNames),
		Parallelism:   int(o.Parallelism),
		Inputs:        stringsOf(o.Inputs),
	}
	switch {
	case o.Files != nil:
		out.Files = filesOf(o.Files)
	case o.Generator != nil:
		out.Generator = &contract.Generator{
			Keys:          o.Generator.Keys,
			RowsPerSecond: o.Generator.RowsPerSecond,
			Rows:          o.Generator.Rows,
		}
	case o.Map != nil:
		out.Map = mapOf(o.Map)
	case o.Filter != nil:
		out.Filter = &contract.Filter{Expression: string(o.Filter.Expression)}
	case o.FlatMap != nil:
		out.FlatMap = &contract.FlatMap{
			Expression: string(o.FlatMap.Expression),
			As:         string(o.FlatMap.As),
			Keep:       stringsOf(o.FlatMap.Keep),
		}
	case o.KeyBy != nil:
		out.KeyBy = &contract.KeyBy{Columns: stringsOf(o.KeyBy.Columns)}
	case o.Aggregate != nil:
		out.Aggregate = aggregateOf(o.Aggregate)
	case o.Union != nil:
		out.Union = &struct{}{}
	case o.FileSink != nil:
		out.FileSink = &contract.FileSink{
			Path: string(o.FileSink.Path),
			S3:   connectionOf(o.FileSink.S3, o.FileSink.Path),
		}
	case o.Log != nil:
		out.Log = &contract.LogSink{}
	}
	return out
}

func filesOf(f *streamv1.FilesSource) *contract.FilesSource {
	out := &contract.FilesSource{
		Path:        string(f.Path),
		Format:      contract.Format(f.Format),
		OnMalformed: string(f.OnMalformed),
	}
	for _, c := range f.Schema {
		out.Schema = append(out.Schema, contract.Column{Name: string(c.Name), Type: contract.ColumnType(c.Type)})
	}
	if f.Continuous != nil {
		out.Continuous = &contract.Continuous{PollInterval: duration(f.Continuous.PollInterval)}
	}
	bucketOf := f.Path
	if f.DeadLetter != nil {
		out.DeadLetterPath = string(f.DeadLetter.Path)
		if !strings.HasPrefix(string(bucketOf), s3Scheme) {
			bucketOf = f.DeadLetter.Path
		}
	}
	out.S3 = connectionOf(f.S3, bucketOf)
	return out
}

func mapOf(m *streamv1.MapStep) *contract.Map {
	out := &contract.Map{}
	for _, c := range m.Columns {
		out.Columns = append(out.Columns, contract.NamedExpression{Name: string(c.Name), Expression: string(c.Expression)})
	}
	return out
}

func aggregateOf(a *streamv1.AggregateStep) *contract.Aggregate {
	out := &contract.Aggregate{}
	for _, c := range a.Aggregates {
		out.Aggregates = append(out.Aggregates, contract.AggregateColumn{
			Name:       string(c.Name),
			Function:   contract.AggregateFunction(c.Function),
			Expression: string(c.Expression),
		})
	}
	return out
}

const s3Scheme = "s3://"

// connectionOf translates the object store of a source or sink; nil stands for that of the storage of the job.
func connectionOf(c *streamv1.S3Connection, path streamv1.Location) *contract.S3 {
	if c == nil {
		return nil
	}
	bucket, _, _ := strings.Cut(strings.TrimPrefix(string(path), s3Scheme), "/")
	return &contract.S3{
		Endpoint: endpointOf(c.Endpoint, c.Region),
		Bucket:   bucket,
		Region:   regionOf(c.Region),
	}
}

func stringsOf[S ~string](in []S) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, string(s))
	}
	return out
}
