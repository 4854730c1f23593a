// SPDX-License-Identifier: Apache-2.0

package contract

// Dataflow is the declarative form of a job: operators connected by name.
type Dataflow struct {
	// Operators in any order; names are identities.
	Operators []Operator `json:"operators"`
}

// Operator is a union: exactly one kind is set besides the common fields.
type Operator struct {
	Name          string   `json:"name"`
	PreviousNames []string `json:"previousNames,omitempty"`
	// Parallelism of this operator; 0 for the job's.
	Parallelism int `json:"parallelism,omitempty"`
	// Inputs names the producers; empty for sources.
	Inputs []string `json:"inputs,omitempty"`

	Files     *FilesSource `json:"files,omitempty"`
	Generator *Generator   `json:"generator,omitempty"`
	Map       *Map         `json:"map,omitempty"`
	Filter    *Filter      `json:"filter,omitempty"`
	FlatMap   *FlatMap     `json:"flatMap,omitempty"`
	KeyBy     *KeyBy       `json:"keyBy,omitempty"`
	Aggregate *Aggregate   `json:"aggregate,omitempty"`
	Union     *struct{}    `json:"union,omitempty"`
	FileSink  *FileSink    `json:"fileSink,omitempty"`
	Log       *LogSink     `json:"log,omitempty"`
}

// Format of files.
type Format string

// The formats.
const (
	// TextFormat yields one column "line" (String) for each line.
	TextFormat Format = "Text"
	// JSONFormat reads or writes one JSON object a line.
	JSONFormat Format = "JSON"
)

// ColumnType is the type of a column.
type ColumnType string

// The column types.
const (
	StringColumn ColumnType = "String"
	IntColumn    ColumnType = "Int"
	FloatColumn  ColumnType = "Float"
	BoolColumn   ColumnType = "Bool"
)

// Column of a schema.
type Column struct {
	Name string     `json:"name"`
	Type ColumnType `json:"type"`
}

// FilesSource reads lines of files below a directory, of a glob, or below s3://bucket/prefix.
type FilesSource struct {
	Path   string `json:"path"`
	Format Format `json:"format,omitempty"`
	// Schema of JSON lines; a field that a line lacks is the zero value of its type.
	Schema []Column `json:"schema,omitempty"`
	// Continuous polls for new files and never ends; nil reads what is there at the start and ends.
	Continuous *Continuous `json:"continuous,omitempty"`
	// OnMalformed is Fail (default), Skip (counted), or DeadLetter (written to DeadLetterPath).
	OnMalformed    string `json:"onMalformed,omitempty"`
	DeadLetterPath string `json:"deadLetterPath,omitempty"`
	// S3 settings for an s3:// path; nil uses those of the job's storage.
	S3 *S3 `json:"s3,omitempty"`
}

// Continuous settings of a files source.
type Continuous struct {
	PollInterval Duration `json:"pollInterval,omitempty"`
}

// Generator yields columns key (Int, 0..Keys-1) and seq (Int, 1.. per key).
type Generator struct {
	// Keys is the number of distinct keys. Default 1000.
	Keys int64 `json:"keys,omitempty"`
	// RowsPerSecond over all subtasks; 0 for as fast as possible.
	RowsPerSecond int64 `json:"rowsPerSecond,omitempty"`
	// Rows in total; 0 for unbounded.
	Rows int64 `json:"rows,omitempty"`
}

// NamedExpression is an output column.
type NamedExpression struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// Map yields exactly the listed columns.
type Map struct {
	Columns []NamedExpression `json:"columns"`
}

// Filter keeps rows for which the expression (Bool) is true.
type Filter struct {
	Expression string `json:"expression"`
}

// FlatMap yields one row for each element of the list that the expression yields.
type FlatMap struct {
	Expression string `json:"expression"`
	// As names the column of the element.
	As string `json:"as"`
	// Keep lists columns of the input that are repeated.
	Keep []string `json:"keep,omitempty"`
}

// KeyBy sets the key columns.
type KeyBy struct {
	Columns []string `json:"columns"`
}

// AggregateFunction names an aggregate.
type AggregateFunction string

// The aggregate functions.
const (
	CountFunction AggregateFunction = "Count"
	SumFunction   AggregateFunction = "Sum"
	MinFunction   AggregateFunction = "Min"
	MaxFunction   AggregateFunction = "Max"
	AvgFunction   AggregateFunction = "Avg"
	LastFunction  AggregateFunction = "Last"
)

// AggregateColumn is one aggregate of a key.
type AggregateColumn struct {
	Name       string            `json:"name"`
	Function   AggregateFunction `json:"function"`
	Expression string            `json:"expression,omitempty"`
}

// Aggregate keeps aggregates for each key and emits the new values on every update, with the key columns.
type Aggregate struct {
	Aggregates []AggregateColumn `json:"aggregates"`
}

// FileSink writes JSON lines to files below a directory or s3://bucket/prefix; they become visible when
// their checkpoint has completed.
type FileSink struct {
	Path string `json:"path"`
	S3   *S3    `json:"s3,omitempty"`
}

// LogSink writes rows to the log of the worker.
type LogSink struct{}
