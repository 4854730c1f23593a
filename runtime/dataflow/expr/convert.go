// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"math"
	"strconv"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

func init() {
	for overload, convert := range map[string]func(out *result, in *columns.Vector, n int){
		"int64_to_double":  intsToFloats,
		"double_to_int64":  floatsToInts,
		"string_to_int64":  textsToInts,
		"string_to_double": textsToFloats,
		"string_to_bool":   textsToBools,
		"int64_to_string":  intsToTexts,
		"double_to_string": floatsToTexts,
		"bool_to_string":   boolsToTexts,
	} {
		register(overload, func(args []node, _ []columns.Kind) node { return &convertNode{arg: args[0], convert: convert} })
	}
	for _, overload := range []string{"int64_to_int64", "double_to_double", "string_to_string", "bool_to_bool"} {
		register(overload, func(args []node, _ []columns.Kind) node { return args[0] })
	}
}

// convertNode is a conversion between column types.
type convertNode struct {
	arg     node
	convert func(out *result, in *columns.Vector, n int)
	result
}

func (x *convertNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	x.convert(&x.result, a.Vector, n)
	return x.value()
}

func intsToFloats(out *result, in *columns.Vector, n int) {
	to := out.floats(n)
	for i, v := range in.Ints[:n] {
		to[i] = float64(v)
	}
}

func floatsToInts(out *result, in *columns.Vector, n int) {
	to := out.ints(n)
	for i, v := range in.Floats[:n] {
		if v > math.MinInt64 && v < math.MaxInt64 {
			to[i] = int64(v)
			continue
		}
		to[i] = 0
		out.fail(i, n)
	}
}

func textsToInts(out *result, in *columns.Vector, n int) {
	to := out.ints(n)
	for i := range to {
		v, ok := parseInt(in.Text(i))
		if !ok {
			out.fail(i, n)
		}
		to[i] = v
	}
}

// parseInt reads what strconv.ParseInt with base 10 reads, without a string.
func parseInt(s []byte) (int64, bool) {
	digits, negative := s, false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		digits, negative = s[1:], s[0] == '-'
	}
	if len(digits) == 0 || len(digits) > 18 {
		v, err := strconv.ParseInt(string(s), 10, 64)
		return v, err == nil
	}
	v := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + int64(c-'0')
	}
	if negative {
		v = -v
	}
	return v, true
}

func textsToFloats(out *result, in *columns.Vector, n int) {
	to := out.floats(n)
	for i := range to {
		v, err := strconv.ParseFloat(string(in.Text(i)), 64)
		if err != nil {
			out.fail(i, n)
		}
		to[i] = v
	}
}

func textsToBools(out *result, in *columns.Vector, n int) {
	to := out.bools(n)
	for i := range to {
		v, err := strconv.ParseBool(string(in.Text(i)))
		if err != nil {
			out.fail(i, n)
		}
		to[i] = v
	}
}

func intsToTexts(out *result, in *columns.Vector, n int) {
	to := out.texts()
	for i, v := range in.Ints[:n] {
		to.AppendText(nil)
		to.Arena = strconv.AppendInt(to.Arena, v, 10)
		to.CloseText(i)
	}
}

func floatsToTexts(out *result, in *columns.Vector, n int) {
	to := out.texts()
	for i, v := range in.Floats[:n] {
		to.AppendText(nil)
		to.Arena = strconv.AppendFloat(to.Arena, v, 'g', -1, 64)
		to.CloseText(i)
	}
}

func boolsToTexts(out *result, in *columns.Vector, n int) {
	to := out.texts()
	for _, v := range in.Bools[:n] {
		to.AppendString(strconv.FormatBool(v))
	}
}
