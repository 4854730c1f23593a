// SPDX-License-Identifier: Apache-2.0

package lines

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep values may be nested.
const maxDepth = 1000

// scanner reads JSON from a line of valid UTF-8. Methods that return false have set reason, and at is where it went wrong.
type scanner struct {
	src    []byte
	at     int
	reason string
	// scratch holds strings that had escapes, until the next reset.
	scratch []byte
}

func (s *scanner) reset(src []byte) {
	s.src, s.at, s.reason, s.scratch = src, 0, "", s.scratch[:0]
}

func (s *scanner) fail(reason string) bool {
	s.reason = reason
	if s.at >= len(s.src) {
		s.reason = "the line ends too early: " + reason
	}
	return false
}

// peek returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.src) {
		return s.src[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.src) {
		switch s.src[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// end makes sure that nothing follows.
func (s *scanner) end() bool {
	s.space()
	if s.at < len(s.src) {
		return s.fail("there is something after the object")
	}
	return true
}

// word reads true, false or null.
func (s *scanner) word(w string) bool {
	if len(s.src)-s.at < len(w) || string(s.src[s.at:s.at+len(w)]) != w {
		return s.fail("a value was expected")
	}
	s.at += len(w)
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns the first position at or after at of a byte that ends a run of plain text in a string: a quote, a
// backslash or a control character. It is len(src) when there is none.
func plain(src []byte, at int) int {
	for ; at+8 <= len(src); at += 8 {
		x := binary.LittleEndian.Uint64(src[at:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		found := ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((x - ones*0x20) &^ x)
		if found &= highs; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for ; at < len(src); at++ {
		if c := src[at]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	return at
}

// text reads a string. The result refers to the line or to scratch.
func (s *scanner) text() ([]byte, bool) {
	start := s.at + 1
	end := plain(s.src, start)
	if end < len(s.src) && s.src[end] == '"' {
		s.at = end + 1
		return s.src[start:end], true
	}
	return s.escaped(start, end)
}

// escaped reads on in a string that began at start and whose text is plain up to end.
func (s *scanner) escaped(start, end int) ([]byte, bool) {
	first := len(s.scratch)
	for {
		s.scratch = append(s.scratch, s.src[start:end]...)
		s.at = end
		switch {
		case end == len(s.src):
			return nil, s.fail("a string has no closing quote")
		case s.src[end] == '"':
			s.at++
			return s.scratch[first:len(s.scratch):len(s.scratch)], true
		case s.src[end] != '\\':
			return nil, s.fail("a control character in a string must be escaped")
		case !s.escape():
			return nil, false
		}
		start = s.at
		end = plain(s.src, start)
	}
}

// escape reads an escape sequence and appends what it stands for to scratch.
func (s *scanner) escape() bool {
	s.at++
	c := s.peek()
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return s.unicode()
	default:
		return s.fail("this is no escape sequence")
	}
	s.at++
	s.scratch = append(s.scratch, c)
	return true
}

// unicode reads what follows \ of \uXXXX, and a second one if both are a surrogate pair. Half a pair is U+FFFD.
func (s *scanner) unicode() bool {
	r, ok := hex4(s.src, s.at+1)
	if !ok {
		return s.fail("\\u needs four hexadecimal digits")
	}
	s.at += 5
	if utf16.IsSurrogate(r) {
		low, ok := rune(0), false
		if s.at+1 < len(s.src) && s.src[s.at] == '\\' && s.src[s.at+1] == 'u' {
			low, ok = hex4(s.src, s.at+2)
		}
		if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
			s.at += 6
		}
	}
	s.scratch = utf8.AppendRune(s.scratch, r)
	return true
}

func hex4(src []byte, at int) (rune, bool) {
	if at+4 > len(src) {
		return 0, false
	}
	r := rune(0)
	for _, c := range src[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads a number and returns its parts: where it begins, whether it is a whole number in form, and whether the
// form is that of a number at all.
func (s *scanner) number() (start int, whole, ok bool) {
	start, whole = s.at, true
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return start, false, s.fail("a number needs a digit here")
	}
	if s.peek() == '.' {
		whole = false
		s.at++
		if !s.digits() {
			return start, false, s.fail("a number needs a digit after the point")
		}
	}
	if s.peek()|0x20 == 'e' {
		whole = false
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return start, false, s.fail("a number needs a digit in its exponent")
		}
	}
	return start, whole, true
}

func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.src) && s.src[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at > start
}

// integer reads a number; isInt says whether it is whole and fits.
func (s *scanner) integer() (v int64, isInt, ok bool) {
	start, whole, ok := s.number()
	if !ok || !whole {
		return 0, false, ok
	}
	text := s.src[start:s.at]
	if len(text) > 18 {
		v, err := strconv.ParseInt(string(text), 10, 64)
		return v, err == nil, true
	}
	digits := text
	if text[0] == '-' {
		digits = text[1:]
	}
	for _, c := range digits {
		v = 10*v + int64(c-'0')
	}
	if text[0] == '-' {
		v = -v
	}
	return v, true, true
}

// Powers of ten that a float64 holds exactly.
var powers = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// float reads a number.
func (s *scanner) float() (float64, bool) {
	start, _, ok := s.number()
	if !ok {
		return 0, false
	}
	text := s.src[start:s.at]
	if v, ok := simpleFloat(text); ok {
		return v, true
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		s.at = start
		return 0, s.fail("the number is too large for a Float")
	}
	return v, true
}

// simpleFloat converts numbers with at most 15 digits and no exponent: mantissa and power of ten are exact then, so one
// division rounds correctly.
func simpleFloat(text []byte) (float64, bool) {
	if len(text) > 17 {
		return 0, false
	}
	mantissa, decimals, point, digits := int64(0), 0, false, 0
	for i, c := range text {
		switch {
		case c-'0' <= 9:
			mantissa = 10*mantissa + int64(c-'0')
			digits++
			if point {
				decimals++
			}
		case c == '.':
			point = true
		case c == '-' && i == 0:
		default:
			return 0, false
		}
	}
	if digits > 15 {
		return 0, false
	}
	v := float64(mantissa) / powers[decimals]
	if text[0] == '-' {
		v = -v
	}
	return v, true
}

// skip reads a value of any type.
func (s *scanner) skip(depth int) bool {
	if depth > maxDepth {
		return s.fail("values are nested too deep")
	}
	switch c := s.peek(); {
	case c == '"':
		return s.skipText()
	case c == '{':
		return s.skipObject(depth)
	case c == '[':
		return s.skipArray(depth)
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c == '-' || c-'0' <= 9:
		_, _, ok := s.number()
		return ok
	default:
		return s.fail("a value was expected")
	}
}

func (s *scanner) skipText() bool {
	mark := len(s.scratch)
	_, ok := s.text()
	s.scratch = s.scratch[:mark]
	return ok
}

func (s *scanner) skipObject(depth int) bool {
	s.at++
	s.space()
	if s.peek() == '}' {
		s.at++
		return true
	}
	for {
		if s.peek() != '"' {
			return s.fail("the name of a field in quotes was expected")
		}
		if !s.skipText() {
			return false
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("':' was expected after the name of a field")
		}
		s.at++
		s.space()
		if !s.skip(depth + 1) {
			return false
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
			s.space()
		case '}':
			s.at++
			return true
		default:
			return s.fail("',' or '}' was expected after the value of a field")
		}
	}
}

func (s *scanner) skipArray(depth int) bool {
	s.at++
	s.space()
	if s.peek() == ']' {
		s.at++
		return true
	}
	for {
		if !s.skip(depth + 1) {
			return false
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
			s.space()
		case ']':
			s.at++
			return true
		default:
			return s.fail("',' or ']' was expected after an element")
		}
	}
}
