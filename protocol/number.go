package protocol

import (
	"math"
	"math/bits"
)

// memcached reads numbers in two ways. Most words are read strictly: digits only, of a bounded count. The flags and the
// exptime of a storage command are read loosely, as C's strtoul and strtol do: white space first, a sign, then digits up
// to the next white space, and the rest of the word is not looked at.

// strictUint reads a word of at most maxDigits digits. The empty word is 0.
func strictUint(word []byte, maxDigits int) (v uint64, ok bool) {
	if len(word) > maxDigits {
		return 0, false
	}
	for _, c := range word {
		d := uint64(c - '0')
		if d > 9 {
			return 0, false
		}
		hi, lo := bits.Mul64(v, 10)
		sum, carry := bits.Add64(lo, d, 0)
		if hi != 0 || carry != 0 {
			return 0, false
		}
		v = sum
	}
	return v, true
}

func strictUint64(word []byte) (uint64, bool) { return strictUint(word, 22) }

func strictUint32(word []byte) (uint32, bool) {
	v, ok := strictUint(word, 11)
	return uint32(v), ok && v <= math.MaxUint32
}

// strictInt32 reads an optional minus and digits, 11 bytes at most. A lone minus is 0.
func strictInt32(word []byte) (int64, bool) {
	if len(word) > 11 {
		return 0, false
	}
	negative := len(word) > 0 && word[0] == '-'
	if negative {
		word = word[1:]
	}
	v, ok := strictUint(word, 11)
	switch {
	case !ok:
		return 0, false
	case negative:
		return -int64(v), v <= -math.MinInt32
	default:
		return int64(v), v <= math.MaxInt32
	}
}

// looseNumber reads sign and magnitude at the start of b. The end of b counts as white space.
func looseNumber(b []byte) (magnitude uint64, negative, ok bool) {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		negative = b[0] == '-'
		b = b[1:]
	}
	digits := 0
	for digits < len(b) && b[digits]-'0' <= 9 {
		hi, lo := bits.Mul64(magnitude, 10)
		sum, carry := bits.Add64(lo, uint64(b[digits]-'0'), 0)
		if hi != 0 || carry != 0 {
			return 0, negative, false
		}
		magnitude = sum
		digits++
	}
	if digits == 0 || digits < len(b) && b[digits] != 0 && !isSpace(b[digits]) {
		return 0, negative, false
	}
	return magnitude, negative, true
}

// looseFlags reads client flags; more than 32 bits are cut off.
func looseFlags(b []byte) (uint32, bool) {
	v, negative, ok := looseNumber(b)
	if negative {
		v = -v
		ok = ok && int64(v) >= 0
	}
	return uint32(v), ok
}

// looseExptime reads the exptime of a storage command; more than 32 bits are cut off, so that 2^31 is far in the past.
func looseExptime(b []byte) (int64, bool) {
	v, negative, ok := looseNumber(b)
	if negative {
		return int64(int32(-int64(v))), ok && v <= 1<<63
	}
	return int64(int32(v)), ok && v <= math.MaxInt64
}

// isSpace is C's isspace in the "C" locale.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
