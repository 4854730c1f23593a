// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Dataflow is the graph of a job: operators that read the rows of other operators.
//
// A row has named, typed columns (String, Int, Float, Bool). Expressions are CEL; the columns of the input are its
// variables. Everything is type-checked before the job starts.
//
// +kubebuilder:validation:XValidation:rule="[self.operators.map(p, p.name)].all(names, self.operators.all(o, !has(o.inputs) || o.inputs.all(i, i in names)))",fieldPath=".operators",message="every input must be the name of an operator of the dataflow"
// +kubebuilder:validation:XValidation:rule="[self.operators.filter(p, has(p.fileSink) || has(p.log)).map(p, p.name)].all(sinks, self.operators.all(o, !has(o.inputs) || !o.inputs.exists(i, i in sinks)))",fieldPath=".operators",message="a sink must not be the input of an operator"
// +kubebuilder:validation:XValidation:rule="[self.operators.filter(p, has(p.keyBy)).map(p, p.name)].all(keyed, self.operators.all(o, !has(o.aggregate) || !has(o.inputs) || o.inputs.all(i, i in keyed)))",fieldPath=".operators",message="the input of an aggregate must be a keyBy"
// +kubebuilder:validation:XValidation:rule="self.operators.all(o, has(o.fileSink) || has(o.log) || self.operators.exists(p, has(p.inputs) && o.name in p.inputs))",fieldPath=".operators",message="the rows of every source and step must be read by another operator"
// +kubebuilder:validation:XValidation:rule="self.operators.all(o, !has(o.previousNames) || o.previousNames.all(n, self.operators.exists_one(p, p.name == n || (has(p.previousNames) && n in p.previousNames))))",fieldPath=".operators",message="a previous name must not be the name or a previous name of another operator"
// +kubebuilder:validation:XValidation:rule="self.operators.exists(o, has(o.files) || has(o.generator))",fieldPath=".operators",message="a dataflow needs at least one source (files or generator)"
// +kubebuilder:validation:XValidation:rule="self.operators.exists(o, has(o.fileSink) || has(o.log))",fieldPath=".operators",message="a dataflow needs at least one sink (fileSink or log)"
type Dataflow struct {
	// operators are the nodes of the graph, in any order.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Operators []Operator `json:"operators,omitempty"`
}

// OperatorName names an operator. It is its identity: state is restored by it.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
type OperatorName string

// ColumnName names a column of a row.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
type ColumnName string

// Expression is a CEL expression over the columns of the input.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=4096
type Expression string

// Location is a path on the machine of the workers, or s3://bucket or s3://bucket/prefix.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:XValidation:rule="!self.startsWith('s3:') || self.matches('^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/.*)?$')",message="a path in an object store must be s3://bucket or s3://bucket/prefix, with the name of a bucket in lower case"
type Location string

// Operator is a node of the graph: a source, a step or a sink. Exactly one of its kinds is set.
//
// +kubebuilder:validation:ExactlyOneOf=files;generator;map;filter;flatMap;keyBy;aggregate;union;fileSink;log
// +kubebuilder:validation:XValidation:rule="!(has(self.files) || has(self.generator)) || !has(self.inputs)",fieldPath=".inputs",message="a source (files, generator) has no inputs"
// +kubebuilder:validation:XValidation:rule="has(self.files) || has(self.generator) || has(self.inputs)",fieldPath=".inputs",message="a step or sink needs inputs: the name of the operator whose rows it reads"
// +kubebuilder:validation:XValidation:rule="!has(self.inputs) || has(self.union) || self.inputs.size() <= 1",fieldPath=".inputs",message="only a union has more than one input: put a union before this operator"
// +kubebuilder:validation:XValidation:rule="!has(self.union) || !has(self.inputs) || self.inputs.size() >= 2",fieldPath=".inputs",message="a union needs at least two inputs"
// +kubebuilder:validation:XValidation:rule="!has(self.inputs) || !self.inputs.exists(i, i == self.name)",fieldPath=".inputs",message="an operator must not be its own input"
// +kubebuilder:validation:XValidation:rule="!has(self.previousNames) || !self.previousNames.exists(n, n == self.name)",fieldPath=".previousNames",message="previousNames must not hold the present name"
type Operator struct {
	// name is the identity of the operator: its state is restored by it. To rename an operator that has state, put
	// its old name in previousNames.
	// +required
	Name OperatorName `json:"name,omitempty"`

	// previousNames are names the operator had in earlier versions of the job; state under one of them becomes
	// the state of this operator.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	PreviousNames []OperatorName `json:"previousNames,omitempty"`

	// parallelism is the number of parallel instances of this operator. Unset means that of the job.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32768
	Parallelism int32 `json:"parallelism,omitempty"`

	// inputs are the names of the operators whose rows this one reads: none for a source, one for a step or sink,
	// two or more for a union.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Inputs []OperatorName `json:"inputs,omitempty"`

	// files is a source that reads the lines of files.
	// +optional
	Files *FilesSource `json:"files,omitempty"`

	// generator is a source that makes up rows.
	// +optional
	Generator *GeneratorSource `json:"generator,omitempty"`

	// map is a step that makes one row of each row.
	// +optional
	Map *MapStep `json:"map,omitempty"`

	// filter is a step that passes on some rows.
	// +optional
	Filter *FilterStep `json:"filter,omitempty"`

	// flatMap is a step that makes any number of rows of each row.
	// +optional
	FlatMap *FlatMapStep `json:"flatMap,omitempty"`

	// keyBy is a step that brings rows with equal keys to the same parallel instance of the next operator.
	// +optional
	KeyBy *KeyByStep `json:"keyBy,omitempty"`

	// aggregate is a step that keeps running aggregates of each key. Its input is a keyBy.
	// +optional
	Aggregate *AggregateStep `json:"aggregate,omitempty"`

	// union is a step that passes on the rows of all its inputs, which have the same columns.
	// +optional
	Union *UnionStep `json:"union,omitempty"`

	// fileSink is a sink that writes rows to files.
	// +optional
	FileSink *FileSink `json:"fileSink,omitempty"`

	// log is a sink that writes rows to the log of the worker.
	// +optional
	Log *LogSink `json:"log,omitempty"`
}

// ColumnType is the type of a column.
//
// +kubebuilder:validation:Enum=String;Int;Float;Bool
type ColumnType string

const (
	// StringColumn is UTF-8 text.
	StringColumn ColumnType = "String"
	// IntColumn is a signed integer of 64 bits.
	IntColumn ColumnType = "Int"
	// FloatColumn is a floating point number of 64 bits.
	FloatColumn ColumnType = "Float"
	// BoolColumn is true or false.
	BoolColumn ColumnType = "Bool"
)

// Column is a column of a row that is read from outside.
type Column struct {
	// name is the name of the column, and of the field of a JSON object.
	// +required
	Name ColumnName `json:"name,omitempty"`

	// type is String, Int, Float or Bool.
	// +required
	Type ColumnType `json:"type,omitempty"`
}

// FileFormat says how the lines of a file are read.
//
// +kubebuilder:validation:Enum=Text;JSON
type FileFormat string

const (
	// TextFormat makes each line a row with the one column "line".
	TextFormat FileFormat = "Text"
	// JSONFormat reads each line as a JSON object.
	JSONFormat FileFormat = "JSON"
)

// MalformedPolicy says what happens to a line that cannot be read.
//
// +kubebuilder:validation:Enum=Fail;Skip;DeadLetter
type MalformedPolicy string

const (
	// FailOnMalformed fails the job with the file, the position and the reason.
	FailOnMalformed MalformedPolicy = "Fail"
	// SkipMalformed drops the line and counts it.
	SkipMalformed MalformedPolicy = "Skip"
	// DeadLetterMalformed writes the line with its file, position and reason to files of their own.
	DeadLetterMalformed MalformedPolicy = "DeadLetter"
)

// FilesSource reads the lines of files. Files are read in the order of their names; each file is read by one
// parallel instance.
//
// +kubebuilder:validation:XValidation:rule="self.format == 'JSON' ? has(self.schema) : true",fieldPath=".schema",message="schema is required when format is JSON"
// +kubebuilder:validation:XValidation:rule="self.format == 'Text' ? !has(self.schema) : true",fieldPath=".schema",message="schema must be left out when format is Text: such rows have the one column 'line' of type String"
// +kubebuilder:validation:XValidation:rule="has(self.onMalformed) && self.onMalformed == 'DeadLetter' ? has(self.deadLetter) : true",fieldPath=".deadLetter",message="deadLetter is required when onMalformed is DeadLetter"
// +kubebuilder:validation:XValidation:rule="has(self.deadLetter) ? has(self.onMalformed) && self.onMalformed == 'DeadLetter' : true",fieldPath=".deadLetter",message="deadLetter must be left out unless onMalformed is DeadLetter"
// +kubebuilder:validation:XValidation:rule="!has(self.s3) || self.path.startsWith('s3://') || (has(self.deadLetter) && self.deadLetter.path.startsWith('s3://'))",fieldPath=".s3",message="s3 must be left out unless path or deadLetter.path starts with s3://"
type FilesSource struct {
	// path is a file, a directory (all files below it) or a pattern, on the machine of the workers or as
	// s3://bucket/prefix. In a pattern '*' and '?' stand for characters of one path segment and '**' for any
	// number of segments.
	// +required
	Path Location `json:"path,omitempty"`

	// format is Text or JSON: one row for each line, as the column "line" or with the columns of schema.
	// +required
	Format FileFormat `json:"format,omitempty"`

	// schema are the columns that are read from each JSON object. Fields that are not named here are ignored.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Schema []Column `json:"schema,omitempty"`

	// continuous looks for new files again and again. Unset means that the source is bounded: it ends when the
	// files that exist at the start are read.
	// +optional
	Continuous *ContinuousFiles `json:"continuous,omitempty"`

	// onMalformed is Fail, Skip or DeadLetter: what happens to a line that is not valid UTF-8 or not a JSON object
	// that fits the schema. Unset means Fail.
	// +optional
	OnMalformed MalformedPolicy `json:"onMalformed,omitempty"`

	// deadLetter says where malformed lines go when onMalformed is DeadLetter.
	// +optional
	DeadLetter *DeadLetter `json:"deadLetter,omitempty"`

	// s3 is the store of an s3:// path. Unset means that of the job.
	// +optional
	S3 *S3Connection `json:"s3,omitempty"`
}

// ContinuousFiles says how to look for new files.
//
// +kubebuilder:validation:XValidation:rule="!has(self.pollInterval) || duration(self.pollInterval) >= duration('100ms')",fieldPath=".pollInterval",message="pollInterval must be at least 100ms"
type ContinuousFiles struct {
	// pollInterval is the time between two looks. Unset means 10s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	PollInterval metav1.Duration `json:"pollInterval,omitempty,omitzero"`
}

// DeadLetter says where malformed lines go.
type DeadLetter struct {
	// path is the directory or s3://bucket/prefix of the files with malformed lines.
	// +required
	Path Location `json:"path,omitempty"`
}

// GeneratorSource makes up rows with the columns "key" (Int, 0 to keys-1) and "seq" (Int, 1, 2, 3 and so on for each
// key).
type GeneratorSource struct {
	// keys is the number of distinct keys. Unset means 1000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	Keys int64 `json:"keys,omitempty"`

	// rows is the number of rows of all parallel instances together, after which the source ends. Unset means that
	// it never ends.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=9007199254740991
	Rows int64 `json:"rows,omitempty"`

	// rowsPerSecond is the rate of all parallel instances together. Unset means as fast as possible.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	RowsPerSecond int64 `json:"rowsPerSecond,omitempty"`
}

// NamedExpression is a column and how to compute it.
type NamedExpression struct {
	// name is the name of the column.
	// +required
	Name ColumnName `json:"name,omitempty"`

	// expression is its value. It yields a String, Int, Float or Bool.
	// +required
	Expression Expression `json:"expression,omitempty"`
}

// MapStep makes one row of each row.
type MapStep struct {
	// columns are all columns of the new row.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Columns []NamedExpression `json:"columns,omitempty"`
}

// FilterStep passes on the rows for which an expression is true.
type FilterStep struct {
	// expression yields a Bool.
	// +required
	Expression Expression `json:"expression,omitempty"`
}

// FlatMapStep makes one row of each element of a list.
//
// +kubebuilder:validation:XValidation:rule="!has(self.keep) || !self.keep.exists(c, c == self.as)",fieldPath=".as",message="as must not be one of the columns of keep"
type FlatMapStep struct {
	// expression yields a list, for example line.split(" ").
	// +required
	Expression Expression `json:"expression,omitempty"`

	// as is the column that holds the element.
	// +required
	As ColumnName `json:"as,omitempty"`

	// keep are the columns of the input that are copied to each new row. Unset means none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Keep []ColumnName `json:"keep,omitempty"`
}

// KeyByStep brings rows with equal keys to the same parallel instance of the next operator. Rows are not changed.
type KeyByStep struct {
	// columns are the columns that make up the key.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Columns []ColumnName `json:"columns,omitempty"`
}

// AggregateFunction is a function over the rows of a key.
//
// +kubebuilder:validation:Enum=Count;Sum;Min;Max;Avg;Last
type AggregateFunction string

const (
	// CountFunction is the number of rows.
	CountFunction AggregateFunction = "Count"
	// SumFunction is the sum of an Int or Float.
	SumFunction AggregateFunction = "Sum"
	// MinFunction is the smallest value.
	MinFunction AggregateFunction = "Min"
	// MaxFunction is the largest value.
	MaxFunction AggregateFunction = "Max"
	// AvgFunction is the mean of an Int or Float, as a Float.
	AvgFunction AggregateFunction = "Avg"
	// LastFunction is the newest value.
	LastFunction AggregateFunction = "Last"
)

// Aggregation is a column that holds an aggregate.
//
// +kubebuilder:validation:XValidation:rule="self.__function__ == 'Count' ? !has(self.expression) : true",fieldPath=".expression",message="expression must be left out when function is Count, which counts rows"
// +kubebuilder:validation:XValidation:rule="self.__function__ == 'Count' ? true : has(self.expression)",fieldPath=".expression",message="expression is required unless function is Count"
type Aggregation struct {
	// name is the name of the column.
	// +required
	Name ColumnName `json:"name,omitempty"`

	// function is Count, Sum, Min, Max, Avg or Last.
	// +required
	Function AggregateFunction `json:"function,omitempty"`

	// expression is the value of each row that goes into the aggregate. Count has none.
	// +optional
	Expression Expression `json:"expression,omitempty"`
}

// AggregateStep keeps running aggregates of each key. For every key that got rows it emits a row with the key
// columns and the new aggregates.
type AggregateStep struct {
	// aggregates are the columns of the emitted row besides the key columns.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Aggregates []Aggregation `json:"aggregates,omitempty"`
}

// UnionStep passes on the rows of all its inputs. It has no fields.
type UnionStep struct{}

// SinkFormat says how rows are written to a file.
//
// +kubebuilder:validation:Enum=JSON
type SinkFormat string

// JSONSink writes each row as a line with a JSON object.
const JSONSink SinkFormat = "JSON"

// FileSink writes rows to files. It is transactional: a file becomes visible when the checkpoint that covers its
// rows has completed, so a reader sees every row exactly once. Without checkpointing the files become visible at the
// end of the input.
//
// +kubebuilder:validation:XValidation:rule="!has(self.s3) || self.path.startsWith('s3://')",fieldPath=".s3",message="s3 must be left out unless path starts with s3://"
type FileSink struct {
	// path is the directory or s3://bucket/prefix of the files.
	// +required
	Path Location `json:"path,omitempty"`

	// format is JSON: one JSON object a line. Unset means JSON.
	// +optional
	Format SinkFormat `json:"format,omitempty"`

	// s3 is the store of an s3:// path. Unset means that of the job.
	// +optional
	S3 *S3Connection `json:"s3,omitempty"`
}

// LogSink writes rows to the log of the worker. It has no fields.
type LogSink struct{}
