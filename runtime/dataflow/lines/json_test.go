// SPDX-License-Identifier: Apache-2.0

package lines

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

var testSchema = columns.NewSchema(
	columns.Field{Name: "s", Kind: columns.String}, columns.Field{Name: "i", Kind: columns.Int},
	columns.Field{Name: "f", Kind: columns.Float}, columns.Field{Name: "b", Kind: columns.Bool},
)

// row is what a line says according to encoding/json.
type row struct {
	s string
	i int64
	f float64
	b bool
}

func (r *row) String() string { return fmt.Sprintf("%q %d %v %t", r.s, r.i, r.f, r.b) }

// reference reads a line with encoding/json; an error is one of syntax or type.
func reference(line []byte) (out row, err error) {
	if !utf8.Valid(line) {
		return out, errors.New("not UTF-8")
	}
	if !json.Valid(line) {
		return out, errors.New("not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	if first, _ := d.Token(); first != json.Delim('{') {
		return out, errors.New("no object")
	}
	for d.More() && err == nil {
		name, _ := d.Token()
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return out, err
		}
		err = out.set(fmt.Sprint(name), raw)
	}
	return out, err
}

// set takes over a field; null is the zero value.
func (r *row) set(name string, raw json.RawMessage) error {
	switch name {
	case "s":
		r.s = ""
		return json.Unmarshal(raw, &r.s)
	case "i":
		r.i = 0
		return json.Unmarshal(raw, &r.i)
	case "b":
		r.b = false
		return json.Unmarshal(raw, &r.b)
	case "f":
		r.f = 0
		if raw[0] != '"' {
			return json.Unmarshal(raw, &r.f)
		}
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		v, known := map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[text]
		if r.f = v; !known {
			return errors.New("a string is no Float")
		}
	}
	return nil
}

// compare decodes a line both ways.
func compare(t *testing.T, line []byte) {
	t.Helper()
	want, wantErr := reference(line)
	d := NewJSON(testSchema)
	err := d.Append(line)
	if (err != nil) != (wantErr != nil) {
		if err != nil && strings.Contains(err.Error(), "nested too deep") {
			return
		}
		t.Fatalf("%q: error %v, encoding/json says %v", line, err, wantErr)
	}
	if err != nil {
		malformed, ok := errors.AsType[*format.MalformedError](err)
		if !ok || malformed.Reason == "" || malformed.Offset < 0 || malformed.Offset > len(line) {
			t.Fatalf("%q: error %#v has no good position and reason", line, err)
		}
		if d.Len() != 0 {
			t.Fatalf("%q: a malformed line left %d rows", line, d.Len())
		}
		return
	}
	b, ok := d.Take().(*columns.Batch)
	if !ok {
		t.Fatalf("%q: no batch", line)
	}
	got := row{string(b.Columns[0].Text(0)), b.Columns[1].Ints[0], b.Columns[2].Floats[0], b.Columns[3].Bools[0]}
	if got.String() != want.String() || math.Float64bits(got.f) != math.Float64bits(want.f) && got.f == got.f {
		t.Fatalf("%q: got %s, encoding/json says %s", line, got.String(), want.String())
	}
	roundTrip(t, b, got)
}

// roundTrip encodes a batch and decodes it again.
func roundTrip(t *testing.T, b *columns.Batch, want row) {
	t.Helper()
	line := NewJSONEncoder(testSchema).AppendBatch(nil, b)
	if !json.Valid(line) {
		t.Fatalf("the encoder wrote %q, which is not JSON", line)
	}
	got, err := reference(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil || got.String() != want.String() {
		t.Fatalf("the encoder wrote %q, which is %s, not %s: %v", line, got.String(), want.String(), err)
	}
}

var seeds = []string{
	`{}`, ` { } `, `{"s":"x","i":1,"f":1.5,"b":true}`, `{"b":false,"f":-0,"i":-0,"s":""}`, `{"i":1.0}`, `{"i":1e3}`,
	`{"i":9223372036854775807}`, `{"i":9223372036854775808}`, `{"i":-9223372036854775808}`, `{"i":01}`, `{"i":-}`, `{"i":+1}`,
	`{"f":1e400}`, `{"f":1e-400}`, `{"f":123456789012345678901234567890}`, `{"f":0.1}`, `{"f":1.7976931348623157e308}`, `{"f":"NaN"}`,
	`{"f":"-Infinity"}`, `{"f":"x"}`, `{"f":.5}`, `{"f":5.}`, `{"f":1e}`, `{"f":999999999999999}`, `{"f":0.000000000000001}`,
	`{"s":"\u00e9\n\t\"\\\/\b\f\r"}`, `{"s":"\ud83d\ude00"}`, `{"s":"\ud83d"}`, `{"s":"\ud83dx"}`, `{"s":"\ud83d\u0041"}`, `{"s":"\ude00\ud83d"}`,
	`{"s":"\u12g4"}`, `{"s":"\x"}`, `{"s":"abc`, `{"s":"abc\`, `{"s":"日本語 and a long plain text after it"}`, "{\"s\":\"a\tb\"}", "{\"s\":\"\xff\"}",
	`{"s":null,"i":null,"f":null,"b":null}`, `{"s":1}`, `{"i":"1"}`, `{"b":0}`, `{"b":tru}`, `{"s":nul}`, `{"i":{}}`, `{"i":[]}`, `{"b":"true"}`,
	`{"i":1,"i":2}`, `{"s":"a","s":"b\n"}`, `{"\u0069":5}`, `{"I":5}`, `{"other":{"a":[1,2,{"b":null}],"c":"}\""},"i":3}`, `{"x":[}`, `{"x":[1,]}`,
	`{"x":{,}}`, `{"x":1,}`, `{"x"}`, `{"x":}`, `{x:1}`, `[]`, `null`, `1`, `"s"`, ``, ` `, `{`, `}`, `{"i":1}x`, `{"i":1} {"i":2}`, `{"i" : 1 , "s" : "y" }`,
	`{"x":[[[[[[]]]]]]}`, `{"x":-01}`, `{"x":"\u12"}`, "\ufeff{}", "{\"i\":1}\r", `{"i":1 "s":2}`, `{"x":tRue}`, `{"x":[1 2]}`,
}

func TestJSON_AgreesWithEncodingJSON(t *testing.T) {
	for _, s := range seeds {
		compare(t, []byte(s))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	for range 20000 {
		line := []byte(randomLine(r))
		compare(t, line)
		if len(line) > 0 {
			line[r.IntN(len(line))] = `{}[]",:\0e.-tn x`[r.IntN(16)]
			compare(t, line)
		}
	}
}

func randomLine(r *rand.Rand) string {
	var out strings.Builder
	out.WriteString("{")
	for i := range r.IntN(6) {
		if i > 0 {
			out.WriteString(",")
		}
		fmt.Fprintf(&out, "%q:%s", []string{"s", "i", "f", "b", "other", "é"}[r.IntN(6)], randomValue(r, 3))
	}
	return out.String() + "}"
}

func randomValue(r *rand.Rand, depth int) string {
	switch r.IntN(9) {
	case 0:
		return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	case 1:
		return strconv.FormatFloat(math.Float64frombits(r.Uint64()&^(1<<62)), 'g', -1, 64)
	case 2:
		return strconv.FormatFloat(float64(r.IntN(2000000))/1000, 'f', -1, 64)
	case 3:
		return []string{"true", "false", "null"}[r.IntN(3)]
	case 4:
		if depth > 0 {
			return "[" + randomValue(r, depth-1) + " , " + randomValue(r, depth-1) + "]"
		}
		return "[]"
	case 5:
		if depth > 0 {
			return `{ "i" :` + randomValue(r, depth-1) + "}"
		}
		return "{}"
	default:
		return `"` + strings.Repeat([]string{"a", `quote\"`, "é", "\U0001F600", `\n`, "plain text "}[r.IntN(6)], r.IntN(4)) + `"`
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) { compare(t, line) })
}

func TestJSON_ErrorsNameColumnAndPosition(t *testing.T) {
	for name, tc := range map[string]struct {
		line, want string
	}{
		"type":     {`{"s":"x","i":"1"}`, `malformed line: byte 13: column "i" is Int, but the value is a string`},
		"fraction": {`{"i":1.5}`, `malformed line: byte 5: column "i" is Int, but the number is no whole number of 64 bits`},
		"cut":      {`{"s":"x"`, `malformed line: byte 8: the line ends too early: ',' or '}' was expected after the value of a field`},
		"empty":    {``, `malformed line: byte 0: the line ends too early: a JSON object was expected, which begins with '{'`},
		"utf8":     {"{\"s\":\"a\xffb\"}", `malformed line: byte 7: the text is not valid UTF-8`},
		"array":    {`[1]`, `malformed line: byte 0: a JSON object was expected, which begins with '{'`},
	} {
		t.Run(name, func(t *testing.T) {
			err := NewJSON(testSchema).Append([]byte(tc.line))
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// TestDecoders_KeepGoodLines checks that a malformed line between good ones leaves no trace.
func TestDecoders_KeepGoodLines(t *testing.T) {
	d := NewJSON(testSchema)
	for i := range 10 {
		if err := d.Append(fmt.Appendf(nil, `{"i":%d,"s":"n%d"}`, i, i)); err != nil {
			t.Fatal(err)
		}
		if err := d.Append([]byte(`{"i":99,"s":"bad\n","b":1}`)); err == nil {
			t.Fatal("a malformed line was taken")
		}
	}
	b, ok := d.Take().(*columns.Batch)
	if !ok || b.Len() != 10 || d.Len() != 0 || d.Take() != nil {
		t.Fatalf("batch of %d rows, %d left", b.Len(), d.Len())
	}
	for i := range 10 {
		if want := fmt.Sprintf("s=\"n%d\", i=%d, f=0, b=false", i, i); b.Show(i) != want {
			t.Errorf("row %d is %s, want %s", i, b.Show(i), want)
		}
	}
}

func TestText(t *testing.T) {
	schema := columns.NewSchema(columns.Field{Name: TextColumn, Kind: columns.String})
	d := NewText(schema)
	for !d.Full() {
		if err := d.Append([]byte("línea")); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Append([]byte("a\xc3")); err == nil || !strings.Contains(err.Error(), "byte 1") {
		t.Errorf("got %v, want an error about byte 1", err)
	}
	b := d.Take()
	if b.Len() != 1024 {
		t.Errorf("a full batch has %d rows", b.Len())
	}
	b.Release()
	if err := d.Append(bytes.Repeat([]byte("x"), fullBytes)); err != nil || !d.Full() {
		t.Errorf("one long line: error %v, full %t", err, d.Full())
	}
}

func BenchmarkJSON(b *testing.B) {
	line := []byte(`{"id":1234567,"user":"user-000042","action":"view","page":"/products/category/item-4711","price":19.95,"ok":true,` +
		`"agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko","region":"eu-central-1","tags":["a","b"]}`)
	schema := columns.NewSchema(
		columns.Field{Name: "id", Kind: columns.Int}, columns.Field{Name: "user", Kind: columns.String},
		columns.Field{Name: "page", Kind: columns.String}, columns.Field{Name: "price", Kind: columns.Float},
		columns.Field{Name: "ok", Kind: columns.Bool},
	)
	d := NewJSON(schema)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Append(line); err != nil {
			b.Fatal(err)
		}
		if d.Full() {
			d.Take().Release()
		}
	}
}
