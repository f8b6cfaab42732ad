package config

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longest bounds durations: the store counts seconds in 32 bits, and several are added up.
const longest = 10 * 365 * 24 * time.Hour

// duration reads 60s, 10m, 1h30m, 2ms from low to longest, in whole steps of unit.
func (v value) duration(into *time.Duration, low, unit time.Duration) {
	s, ok := v.str("write a duration such as 60s")
	if !ok {
		return
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && isNumber(s):
		v.fail("%s has no unit; write %ss for seconds", s, s)
	case err != nil:
		v.fail("%q is no duration; write one such as 60s, 10m or 6h", s)
	case d < low:
		v.fail("%s is too short; write %s or more", s, plainDuration(low))
	case d > longest:
		v.fail("%s is too long; write 87600h (ten years) or less", s)
	case d%unit != 0:
		v.fail("%s is no whole number of %s; round it", s, map[time.Duration]string{time.Second: "seconds", time.Millisecond: "milliseconds", time.Microsecond: "microseconds"}[unit])
	default:
		*into = d
	}
}

// plainDuration writes whole seconds and milliseconds without zeros for the rest.
func plainDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	return d.String()
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// rate reads 20000/s: a number over 0 a second.
func (v value) rate(into *float64) {
	s, ok := v.str("write a rate such as 20000/s")
	if !ok {
		return
	}
	digits, found := strings.CutSuffix(s, "/s")
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	switch {
	case !found && isNumber(s):
		v.fail("%s has no unit; write %s/s", s, s)
	case !found || err != nil || math.IsNaN(n):
		v.fail("%q is no rate; write one such as 20000/s", s)
	case n <= 0 || n > 1e9:
		v.fail("%s is out of bounds; write a rate over 0/s and up to 1000000000/s", s)
	default:
		*into = n
	}
}

// percent reads 10% as 10.
func (v value) percent(into *int, low, high int) {
	s, ok := v.str("write a percentage such as 10%")
	if !ok {
		return
	}
	digits, found := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	switch {
	case !found && isNumber(s):
		v.fail("%s has no unit; write %s%%", s, s)
	case !found || err != nil:
		v.fail("%q is no percentage; write a whole one such as 10%%", s)
	case n < low || n > high:
		v.fail("%s is out of bounds; write %d%% to %d%%", s, low, high)
	default:
		*into = n
	}
}

// count reads a whole number in bounds.
func (v value) count(into *int, low, high int) {
	s, ok := v.str("write a number")
	if !ok {
		return
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		v.fail("%q is no whole number; write one from %d to %d", s, low, high)
	case n < low || n > high:
		v.fail("%d is out of bounds; write a number from %d to %d", n, low, high)
	default:
		*into = n
	}
}

// choice reads one of a few words.
func choice[T ~string](v value, into *T, words ...T) {
	known := make([]string, 0, len(words))
	for _, w := range words {
		known = append(known, string(w))
	}
	s, ok := v.str("write one of " + strings.Join(known, ", "))
	if !ok {
		return
	}
	if !slices.Contains(known, s) {
		v.fail("%q is none of %s; %s", s, strings.Join(known, ", "), didYouMean(s, known))
		return
	}
	*into = T(s)
}

// boolean reads true or false, and tells whether it was one of them.
func (v value) boolean(into *bool) bool {
	s, ok := v.str("write true or false")
	if !ok {
		return false
	}
	if s != "true" && s != "false" {
		v.fail("%q is neither true nor false", s)
		return false
	}
	*into = s == "true"
	return true
}

// nameForm is what a source or route may be called: it goes into stats, logs, metrics and telnet commands.
var nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// name reads the name of a route.
func (v value) name(into *string) {
	s, ok := v.str("give it one")
	if !ok {
		return
	}
	if !nameForm.MatchString(s) {
		v.fail("%q is no name; %s", s, nameRemedy)
		return
	}
	*into = s
}

const nameRemedy = "use letters, digits, _ . and -, first a letter, at most 64 in all"

// secret reads a value in which ${NAME} stands for an environment variable. Messages never quote the value.
func (v value) secret() (Secret, bool) {
	s, ok := v.str("write it, or ${NAME} for an environment variable")
	if !ok {
		return "", false
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !envForm.MatchString(name) {
			v.fail("a ${ is not followed by a variable's name and }; write ${NAME}")
			return "", false
		}
		env, set := v.doc.l.in.Env(name)
		if !set && v.doc.l.in.Asking {
			return "", true
		}
		if !set {
			v.fail("the environment has no %s; set it, or write the value in place of ${%s}", name, name)
			return "", false
		}
		b.WriteString(env)
		s = after
	}
	if b.Len() == 0 {
		v.fail("it is empty once its variables are put in; set them")
		return "", false
	}
	return Secret(b.String()), true
}

var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Secret is text that may hold a password. Printing shows that something is there, no more.
type Secret string

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the text from JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
