// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

var testSchema = columns.NewSchema(
	columns.Field{Name: "a", Kind: columns.Int}, columns.Field{Name: "b", Kind: columns.Int},
	columns.Field{Name: "x", Kind: columns.Float}, columns.Field{Name: "y", Kind: columns.Float},
	columns.Field{Name: "p", Kind: columns.Bool}, columns.Field{Name: "q", Kind: columns.Bool},
	columns.Field{Name: "s", Kind: columns.String}, columns.Field{Name: "t", Kind: columns.String},
)

var (
	someInts   = []int64{0, 1, -1, 2, 3, 7, 10, -10, 1 << 31, 1 << 62, -1 << 62, math.MaxInt64, math.MinInt64, math.MinInt64 + 1, 3037000500}
	someFloats = []float64{
		0, math.Copysign(0, -1), 1, -1, 0.5, 1e300, -1e300, 1e-300, math.NaN(), math.Inf(1), math.Inf(-1), 1 << 53, 9.3e18, -9.3e18, 1e21, 123456.75,
		math.MaxInt64, math.MinInt64,
	}
	someTexts = []string{
		"", " ", "a", "A", "abc", "Hello, World", "x,y,,z", "  trim\t", "12", "-7", "+5", "9223372036854775808", "1.5", "NaN", "true", "T", "1e3",
		"héllo wörld", "日本語 text", "\u00a0x\u00a0", "don't stop", "0x10", "1_000", "É", "\U0001F600 ok",
	}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func randomBatch(r *rand.Rand, n int) *columns.Batch {
	b := testSchema.NewBatch()
	b.SetLen(n)
	for i := range b.Columns {
		v := &b.Columns[i]
		for range n {
			switch v.Kind {
			case columns.Int:
				v.Ints = append(v.Ints, pick(r, someInts)+int64(r.IntN(3)))
			case columns.Float:
				v.Floats = append(v.Floats, pick(r, someFloats))
			case columns.Bool:
				v.Bools = append(v.Bools, r.IntN(2) == 0)
			default:
				v.AppendString(pick(r, someTexts) + strings.Repeat(pick(r, someTexts), r.IntN(2)))
			}
		}
	}
	return b
}

// writer writes random expressions of a wanted kind.
type writer struct{ r *rand.Rand }

func (w writer) of(k columns.Kind, depth int) string {
	switch k {
	case columns.Int:
		return w.int(depth)
	case columns.Float:
		return w.float(depth)
	case columns.Bool:
		return w.bool(depth)
	default:
		return w.text(depth)
	}
}

func (w writer) any(depth int) (string, columns.Kind) {
	k := pick(w.r, []columns.Kind{columns.Int, columns.Float, columns.Bool, columns.String})
	return w.of(k, depth), k
}

func (w writer) int(depth int) string {
	if depth <= 0 {
		return pick(w.r, []string{"a", "b", "a", "b", "0", "1", "-1", "2", "3", "9223372036854775807", "1000"})
	}
	d := depth - 1
	switch w.r.IntN(13) {
	case 0, 1, 2, 3:
		return fmt.Sprintf("(%s %s %s)", w.int(d), pick(w.r, []string{"+", "-", "*", "/", "%"}), w.int(d))
	case 4:
		return fmt.Sprintf("-(%s)", w.int(d))
	case 5:
		return fmt.Sprintf("int(%s)", w.float(d))
	case 6:
		return fmt.Sprintf("int(%s)", w.text(d))
	case 7:
		return fmt.Sprintf("size(%s)", w.text(d))
	case 8:
		return fmt.Sprintf("size(%s)", w.list(columns.String, d))
	case 9:
		return fmt.Sprintf("(%s ? %s : %s)", w.bool(d), w.int(d), w.int(d))
	case 10:
		return fmt.Sprintf("%s.indexOf(%s)", w.text(d), w.text(d))
	case 11:
		return fmt.Sprintf("int(%s)", w.int(d))
	default:
		return w.int(0)
	}
}

func (w writer) float(depth int) string {
	if depth <= 0 {
		return pick(w.r, []string{"x", "y", "x", "y", "0.0", "1.5", "-2.25", "1e100"})
	}
	d := depth - 1
	switch w.r.IntN(7) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", w.float(d), pick(w.r, []string{"+", "-", "*", "/"}), w.float(d))
	case 2:
		return fmt.Sprintf("-(%s)", w.float(d))
	case 3:
		return fmt.Sprintf("double(%s)", w.int(d))
	case 4:
		return fmt.Sprintf("double(%s)", w.text(d))
	case 5:
		return fmt.Sprintf("(%s ? %s : %s)", w.bool(d), w.float(d), w.float(d))
	default:
		return w.float(0)
	}
}

func (w writer) bool(depth int) string {
	if depth <= 0 {
		return pick(w.r, []string{"p", "q", "p", "q", "true", "false"})
	}
	d := depth - 1
	switch w.r.IntN(11) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", w.bool(d), pick(w.r, []string{"&&", "||"}), w.bool(d))
	case 2:
		return fmt.Sprintf("!(%s)", w.bool(d))
	case 3, 4:
		l, k := w.any(d)
		return fmt.Sprintf("(%s %s %s)", l, pick(w.r, []string{"==", "!=", "<", "<=", ">", ">="}), w.of(k, d))
	case 5:
		return fmt.Sprintf("%s.%s(%s)", w.text(d), pick(w.r, []string{"contains", "startsWith", "endsWith"}), w.text(d))
	case 6:
		return fmt.Sprintf("%s.matches('%s')", w.text(d), pick(w.r, []string{"^[a-z]+$", "l+", "", "\\\\d", "ö"}))
	case 7:
		k := pick(w.r, []columns.Kind{columns.Int, columns.Float, columns.Bool, columns.String})
		return fmt.Sprintf("(%s in [%s, %s, %s])", w.of(k, d), w.literal(k), w.literal(k), w.literal(k))
	case 8:
		return fmt.Sprintf("(%s ? %s : %s)", w.bool(d), w.bool(d), w.bool(d))
	case 9:
		return fmt.Sprintf("%s.exists(e, e == %s)", w.list(columns.String, d), w.text(d))
	default:
		return fmt.Sprintf("bool(%s)", w.text(d))
	}
}

func (w writer) literal(k columns.Kind) string {
	switch k {
	case columns.Int:
		return pick(w.r, []string{"0", "1", "-1", "7", "9223372036854775807"})
	case columns.Float:
		return pick(w.r, []string{"0.0", "1.0", "-1.0", "0.5"})
	case columns.Bool:
		return pick(w.r, []string{"true", "false"})
	default:
		return pick(w.r, []string{"''", "'a'", "'abc'", "'é'", "' '", "','", "'Hello'"})
	}
}

func (w writer) text(depth int) string {
	if depth <= 0 {
		return pick(w.r, []string{"s", "t", "s", "t", w.literal(columns.String)})
	}
	d := depth - 1
	switch w.r.IntN(12) {
	case 0:
		return fmt.Sprintf("(%s + %s)", w.text(d), w.text(d))
	case 1, 2, 3:
		return fmt.Sprintf("%s.%s()", w.text(d), pick(w.r, []string{"lowerAscii", "upperAscii", "trim"}))
	case 4:
		return fmt.Sprintf("%s.replace(%s, %s)", w.text(d), w.text(d), w.text(d))
	case 5:
		return fmt.Sprintf("%s.substring(%s)", w.text(d), pick(w.r, []string{"0", "1", "2", w.int(d)}))
	case 6:
		return fmt.Sprintf("%s.substring(%s, %s)", w.text(d), pick(w.r, []string{"0", "1", w.int(d)}), pick(w.r, []string{"1", "3", w.int(d)}))
	case 7:
		from, _ := w.any(d)
		return fmt.Sprintf("string(%s)", from)
	case 8:
		return fmt.Sprintf("(%s ? %s : %s)", w.bool(d), w.text(d), w.text(d))
	case 9:
		return fmt.Sprintf("%s.reverse()", w.text(d))
	case 10:
		return fmt.Sprintf("%s.join('-')", w.list(columns.String, d))
	default:
		return w.text(0)
	}
}

func (w writer) list(k columns.Kind, depth int) string {
	if k != columns.String || w.r.IntN(3) == 0 {
		return fmt.Sprintf("[%s, %s]", w.of(k, depth), w.of(k, depth))
	}
	switch w.r.IntN(4) {
	case 0:
		return w.text(depth) + ".words()"
	case 1:
		return fmt.Sprintf("%s.split(%s)", w.text(depth), w.text(0))
	case 2:
		return fmt.Sprintf("%s.split(',').map(e, e + %s)", w.text(depth), w.text(0))
	default:
		return fmt.Sprintf("%s.split('%s')", w.text(depth), pick(w.r, []string{"", " ", ",", "l", "lo"}))
	}
}

const (
	differentialExpressions = 2500
	differentialRows        = 40
)

// TestEvaluator_AgreesWithInterpreter compares values and error-ness with cel-go for random expressions and rows.
func TestEvaluator_AgreesWithInterpreter(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	w := writer{r}
	env, err := NewEnv(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	errors, values := 0, 0
	for range differentialExpressions {
		batch := randomBatch(r, differentialRows)
		text, kind := w.any(1 + r.IntN(4))
		p, err := env.Compile(text)
		if err != nil {
			// Constant folding finds some errors early; nothing to compare then.
			continue
		}
		if p.Kind() != kind {
			t.Fatalf("%s: kind is %s, want %s", text, p.Kind(), kind)
		}
		e, err := p.NewEvaluator()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for range 2 { // The second time in memory that was used before.
			got := e.node.eval(batch)
			for i := range batch.Len() {
				want, wantErr := reference(p, batch, i)
				switch {
				case (wantErr != nil) != isBad(got.bad, i):
					t.Fatalf("%s for (%s): error is %t, cel-go says %v, %v", text, batch.Show(i), isBad(got.bad, i), want, wantErr)
				case wantErr != nil:
					errors++
				case !same(got.Vector, i, want):
					t.Fatalf("%s for (%s): got %s, cel-go says %v", text, batch.Show(i), got.AppendShown(nil, i), want)
				default:
					values++
				}
			}
		}
	}
	if errors < 1000 || values < 10000 {
		t.Errorf("the comparison met %d errors and %d values: too few to say much", errors, values)
	}
}

func TestEvaluator_ListsAgreeWithInterpreter(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	w := writer{r}
	env, err := NewEnv(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for range differentialExpressions / 4 {
		batch := randomBatch(r, differentialRows)
		text := w.list(pick(r, []columns.Kind{columns.String, columns.String, columns.Int, columns.Bool}), r.IntN(3))
		p, err := env.CompileList(text)
		if err != nil {
			continue // Constant folding found an error.
		}
		compared++
		e, err := p.NewEvaluator()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := e.list.evalList(batch)
		start := 0
		for i := range batch.Len() {
			end := int(got.Ends[i])
			want, wantErr := reference(p, batch, i)
			if (wantErr != nil) != isBad(got.bad, i) {
				t.Fatalf("%s for (%s): error is %t, cel-go says %v, %v", text, batch.Show(i), isBad(got.bad, i), want, wantErr)
			}
			if wantErr == nil {
				compareList(t, text, batch.Show(i), got.Elems.Slice(start, end), want)
			}
			start = end
		}
	}
	if compared < differentialExpressions/5 {
		t.Errorf("only %d lists were compared", compared)
	}
}

func compareList(t *testing.T, text, row string, got columns.Vector, want ref.Val) {
	t.Helper()
	l, ok := want.(traits.Lister)
	if !ok || int64(l.Size().(types.Int)) != int64(got.Len()) {
		t.Fatalf("%s for (%s): %d elements, cel-go says %v", text, row, got.Len(), want)
	}
	for j := range got.Len() {
		if !same(&got, j, l.Get(types.Int(j))) {
			t.Fatalf("%s for (%s): element %d is %s, cel-go says %v", text, row, j, got.AppendShown(nil, j), l.Get(types.Int(j)))
		}
	}
}

func reference(p *Program, b *columns.Batch, row int) (ref.Val, error) {
	v, _, err := p.whole.Eval(&rowActivation{schema: testSchema, batch: b, row: row})
	return v, err
}

func same(got *columns.Vector, i int, want ref.Val) bool {
	switch v := want.(type) {
	case types.Int:
		return got.Kind == columns.Int && got.Ints[i] == int64(v)
	case types.Double:
		f, g := float64(v), got.Floats[i]
		return math.Float64bits(f) == math.Float64bits(g) || (f != f && g != g)
	case types.Bool:
		return got.Kind == columns.Bool && got.Bools[i] == bool(v)
	case types.String:
		return got.Kind == columns.String && string(got.Text(i)) == string(v)
	default:
		return false
	}
}
