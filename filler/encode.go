package filler

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// Encoding is how a row becomes a payload.
//
// A row with one column beside ord is that column's value; with several it is an object (json) or an array (php) by column
// name. A single column that is NULL is no row at all: the key is absent.
//
//	column            raw                     json                php
//	text, others      as the database prints  string              string
//	int               digits                  number              int
//	float             as printed              number              float
//	numeric           as printed              number              string, which keeps every digit
//	bool              as printed              true, false         bool
//	json, array       as printed              as it is            array, string, int, float, bool or null
//	bytes             the bytes               hex string, \x...   string of the bytes
//	NULL (of several) not possible            null                null
//
// NaN and the infinities have no JSON form and become null there.
type Encoding uint8

const (
	EncodeRaw Encoding = iota
	EncodeJSON
	EncodePHP
)

// Flags as php-memcached stores them, used by EncodePHP where the route sets none. With its own flags a route says that its
// client unserializes, so every payload then is PHP's serialized form, scalars included.
const (
	phpString     = 0
	phpInt        = 1
	phpFloat      = 2
	phpBool       = 3
	phpSerialized = 4
)

// Kind says what the text of a Value is.
type Kind uint8

const (
	Null    Kind = iota
	Text         // also everything that has no kind of its own: dates, uuids, enums
	Int          // decimal, within int64
	Float        // decimal, or NaN, Infinity, -Infinity in any spelling that strconv reads
	Numeric      // decimal of any length
	Bool         // begins with t or 1 for true
	JSON         // a JSON text
	Bytes        // not printable
)

// Value is one column of a row: the database's text of it, and its kind.
type Value struct {
	Kind Kind
	Text []byte
}

// errEncode is why a row cannot be encoded; the key then fails.
var errEncode = errors.New("filler: not a JSON text")

// appendRow appends the payload of a row and returns its flags. names and vals are the columns without ord. nested is set
// for rows of a list, which need a form that can stand inside another.
func (r *Route) appendRow(dst []byte, names []string, vals []Value, nested bool) ([]byte, uint32, error) {
	if len(vals) == 1 {
		return r.appendValue(dst, vals[0], nested)
	}
	switch r.Encode {
	case EncodeJSON:
		dst = append(dst, '{')
		for i, v := range vals {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendJSONString(dst, names[i])
			dst = append(dst, ':')
			dst = AppendJSON(dst, v)
		}
		return append(dst, '}'), r.flags(0), nil
	case EncodePHP:
		dst = append(dst, "a:"...)
		dst = strconv.AppendInt(dst, int64(len(vals)), 10)
		dst = append(dst, ":{"...)
		var err error
		for i, v := range vals {
			dst = appendPHPKey(dst, []byte(names[i]))
			if dst, err = appendPHP(dst, v); err != nil {
				return dst, 0, err
			}
		}
		return append(dst, '}'), r.flags(phpSerialized), nil
	}
	return dst, 0, errEncode // ColumnsOf has refused several columns for raw
}

func (r *Route) appendValue(dst []byte, v Value, nested bool) ([]byte, uint32, error) {
	switch r.Encode {
	case EncodeJSON:
		return AppendJSON(dst, v), r.flags(0), nil
	case EncodePHP:
		if nested || r.SetFlags {
			dst, err := appendPHP(dst, v)
			return dst, r.flags(phpSerialized), err
		}
		return appendPHPItem(dst, v)
	default:
		return append(dst, v.Text...), r.flags(0), nil
	}
}

func (r *Route) flags(def uint32) uint32 {
	if r.SetFlags {
		return r.Flags
	}
	return def
}

// appendList appends the list of the rows in parts, which appendRow made as nested ones.
func (r *Route) appendList(dst []byte, parts [][]byte) ([]byte, uint32) {
	if r.Encode == EncodePHP {
		dst = append(dst, "a:"...)
		dst = strconv.AppendInt(dst, int64(len(parts)), 10)
		dst = append(dst, ":{"...)
		for i, p := range parts {
			dst = appendPHPInt(dst, int64(i))
			dst = append(dst, p...)
		}
		return append(dst, '}'), r.flags(phpSerialized)
	}
	dst = append(dst, '[')
	for i, p := range parts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, p...)
	}
	return append(dst, ']'), r.flags(0)
}

// AppendJSON appends v as a JSON text.
func AppendJSON(dst []byte, v Value) []byte {
	switch v.Kind {
	case Null:
		return append(dst, "null"...)
	case Int, JSON:
		return append(dst, v.Text...)
	case Float, Numeric:
		if !isJSONNumber(v.Text) {
			return append(dst, "null"...)
		}
		return append(dst, v.Text...)
	case Bool:
		return strconv.AppendBool(dst, v.isTrue())
	case Bytes:
		dst = append(dst, `"\\x`...)
		dst = hex.AppendEncode(dst, v.Text)
		return append(dst, '"')
	default:
		return AppendJSONString(dst, string(v.Text))
	}
}

// isJSONNumber sorts out NaN and the infinities; everything else that databases print is a JSON number.
func isJSONNumber(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	last := text[len(text)-1]
	return last >= '0' && last <= '9' && json.Valid(text)
}

func (v Value) isTrue() bool { return len(v.Text) > 0 && (v.Text[0] == 't' || v.Text[0] == '1') }

const hexDigits = "0123456789abcdef"

// AppendJSONString appends s in quotes and escapes no more than JSON asks for. s must be UTF-8.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// appendPHPItem appends v as php-memcached stores it: scalars as their text with the type in the flags, the rest serialized.
func appendPHPItem(dst []byte, v Value) ([]byte, uint32, error) {
	switch v.Kind {
	case Int:
		return append(dst, v.Text...), phpInt, nil
	case Float:
		if f, err := strconv.ParseFloat(string(v.Text), 64); err == nil || errors.Is(err, strconv.ErrRange) {
			return appendPHPFloatItem(dst, f), phpFloat, nil
		}
		return dst, 0, errEncode
	case Bool:
		if v.isTrue() {
			dst = append(dst, '1') // false is the empty string
		}
		return dst, phpBool, nil
	case Text, Bytes, Numeric:
		return append(dst, v.Text...), phpString, nil
	case JSON:
		s := jsonScanner{in: v.Text}
		return s.item(dst)
	default:
		dst, err := appendPHP(dst, v)
		return dst, phpSerialized, err
	}
}

// appendPHP appends v as PHP's serialize does.
func appendPHP(dst []byte, v Value) ([]byte, error) {
	switch v.Kind {
	case Null:
		return append(dst, "N;"...), nil
	case Int:
		dst = append(dst, "i:"...)
		dst = append(dst, v.Text...)
		return append(dst, ';'), nil
	case Float:
		f, err := strconv.ParseFloat(string(v.Text), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return dst, errEncode
		}
		return appendPHPFloat(dst, f), nil
	case Bool:
		return appendPHPBool(dst, v.isTrue()), nil
	case JSON:
		s := jsonScanner{in: v.Text}
		return s.document(dst)
	default:
		return appendPHPString(dst, v.Text), nil
	}
}

func appendPHPInt(dst []byte, n int64) []byte {
	dst = append(dst, "i:"...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, ';')
}

func appendPHPBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, "b:1;"...)
	}
	return append(dst, "b:0;"...)
}

func appendPHPString(dst, s []byte) []byte {
	dst = append(dst, "s:"...)
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, `:"`...)
	dst = append(dst, s...)
	return append(dst, `";`...)
}

// appendPHPKey appends an array key: PHP turns decimal ones into ints.
func appendPHPKey(dst, key []byte) []byte {
	if len(key) > 0 && len(key) <= 20 && (key[0] == '-' || (key[0] >= '0' && key[0] <= '9')) {
		n, err := strconv.ParseInt(string(key), 10, 64)
		var canonical [20]byte
		if err == nil && string(strconv.AppendInt(canonical[:0], n, 10)) == string(key) {
			return appendPHPInt(dst, n)
		}
	}
	return appendPHPString(dst, key)
}

// digits returns the shortest decimal digits that read back as f, which is finite, without zeros at the end, and where the
// point stands: 0.digits x 10^point.
func digits(buf []byte, f float64) (d []byte, point int) {
	e := strconv.AppendFloat(buf[:0], math.Abs(f), 'e', -1, 64) // d.ddde-dd
	cut := len(e) - 1
	for e[cut] != 'e' {
		cut--
	}
	exp, _ := strconv.Atoi(string(e[cut+1:])) // strconv wrote it
	d = e[:1]
	if cut > 2 {
		d = append(d, e[2:cut]...)
	}
	return d, exp + 1
}

// appendPHPFloat appends f as PHP serializes it with serialize_precision -1, its default: plain from 1e-4 up to 17 digits, else like
// 1.0E+25.
func appendPHPFloat(dst []byte, f float64) []byte {
	dst = append(dst, "d:"...)
	switch {
	case math.IsNaN(f):
		return append(dst, "NAN;"...)
	case math.IsInf(f, 1):
		return append(dst, "INF;"...)
	case math.IsInf(f, -1):
		return append(dst, "-INF;"...)
	}
	var buf [32]byte
	d, point := digits(buf[:], f)
	if point > -4 && point <= 17 {
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		return append(dst, ';')
	}
	if math.Signbit(f) {
		dst = append(dst, '-')
	}
	dst = append(dst, d[0], '.')
	if dst = append(dst, d[1:]...); len(d) == 1 {
		dst = append(dst, '0')
	}
	dst = append(dst, 'E')
	if point > 1 {
		dst = append(dst, '+')
	}
	dst = strconv.AppendInt(dst, int64(point-1), 10)
	return append(dst, ';')
}

// appendPHPFloatItem appends f as php-memcached stores a float that is an item by itself, which is not how PHP serializes it:
// .5 and 1e+15, and plain up to five zeros after the digits.
func appendPHPFloatItem(dst []byte, f float64) []byte {
	if math.Signbit(f) && !math.IsNaN(f) {
		dst = append(dst, '-')
	}
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 0):
		return append(dst, "Infinity"...)
	}
	var buf [32]byte
	d, point := digits(buf[:], f)
	switch {
	case point <= -4 || point > len(d)+5:
		dst = append(dst, d[0])
		if len(d) > 1 {
			dst = append(append(dst, '.'), d[1:]...)
		}
		sign := byte('+')
		if point--; point < 0 {
			sign, point = '-', -point
		}
		dst = append(dst, 'e', sign)
		if point < 10 {
			dst = append(dst, '0')
		}
		return strconv.AppendInt(dst, int64(point), 10)
	case point <= 0:
		dst = append(dst, '.')
		for ; point < 0; point++ {
			dst = append(dst, '0')
		}
		return append(dst, d...)
	case point < len(d):
		dst = append(append(dst, d[:point]...), '.')
		return append(dst, d[point:]...)
	default:
		dst = append(dst, d...)
		for ; point > len(d); point-- {
			dst = append(dst, '0')
		}
		return dst
	}
}
