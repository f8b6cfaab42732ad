package server

import (
	"fmt"
	"strconv"
	"strings"
)

// meta draws a meta command for each server. Where one of its flags is C@, it names the CAS that the server told last.
//
// What is left out: T and E of ma, which memcached loses where the number outgrows its item, and over-long opaques of mg
// and ma that do something, which memcached refuses only after it has done it.
func (a *asker) meta() [2]string {
	key := a.key()
	coded := a.rng.IntN(6) == 0
	if coded {
		key = a.pick("YQ==", "Yg==", "bnVt", "bnVtMg==", "YQ$=$=", "foo", "====", "AAH/")
	}
	verb := a.pick("mg", "mg", "mg", "mg", "ms", "ms", "ms", "md", "ma", "ma", "mn", "mx")
	var flags []string
	draw := func(odds int, words ...string) {
		if a.rng.IntN(odds) == 0 {
			flags = append(flags, a.pick(words...))
		}
	}
	if coded {
		flags = append(flags, "b")
	}
	draw(4, "k")
	draw(4, "q")
	draw(5, "Oabc", "O", "O-1$~")
	value, mistaken := "", a.rng.IntN(12) == 0
	switch verb {
	case "mg", "mn":
		draw(2, "v")
		for _, tell := range []string{"c", "f", "s", "t", "l"} {
			draw(4, tell)
		}
		draw(8, "u")
		draw(4, "T0", "T100", "T1000", "T-1")
		draw(4, "N0", "N30", "N-1")
		draw(4, "R0", "R50", "R200", "R2000", "R-1")
		draw(8, "C@", "C1", "C18446744073709551615")
		draw(20, "E1099511627776", "vx", "tt")
	case "ms":
		value = a.value()
		length := strconv.Itoa(len(value))
		switch a.rng.IntN(25) {
		case 0:
			value += "y"
		case 1:
			length = a.pick("x", "-1", "+1", "1x", "00001", "2147483647")
		case 2:
			value += "z" // of white space alone memcached reads past the value
			length = strconv.Itoa(len(value) + 1 + a.rng.IntN(9))
		}
		verb = "ms " // the length comes behind the key
		key += " " + length
		draw(3, "c")
		draw(3, "s")
		draw(3, "T0", "T100")
		draw(3, "F5", "F4294967295", "F0")
		draw(3, "MS", "ME", "MA", "MP", "MR", "MA", "MP")
		draw(4, "C@", "C0", "C1", "C18446744073709551615")
		draw(5, "I")
		draw(6, "N0", "N30")
		draw(12, "E1099511627776")
	case "md":
		draw(3, "I")
		draw(3, "x")
		draw(4, "T0", "T100", "T-1")
		draw(5, "F9")
		draw(4, "C@", "C0", "C1")
		draw(12, "E1099511627776")
	case "ma":
		key = a.pick("num", "num", "num2", key)
		if coded {
			key = a.pick("bnVt", "bnVtMg==")
		}
		draw(2, "v")
		draw(4, "c")
		draw(4, "t")
		draw(2, "D0", "D5", "D99", "D18446744073709551615")
		draw(2, "MI", "MD", "M+", "M-")
		draw(3, "N0", "N30", "N-1")
		draw(3, "J0", "J13", "J18446744073709551615")
		draw(6, "C@", "C0", "C1")
	}
	if mistaken {
		flags = append(flags, a.pick("v", "v", "y", "0", "S5", "$", "T", "Tx", "T2147483648", "N", "Rx", "C", "C-1", "Ex", "F-1", "F4294967296", "F", "Jx", "D", "D1x",
			"M", "Mx", "Mi", "b", "noreply", "{"))
		if a.rng.IntN(3) == 0 {
			flags = append(flags, a.pick("Tx", "Jx", "Fx", "b", "k"))
		}
	}
	a.rng.Shuffle(len(flags), func(i, j int) { flags[i], flags[j] = flags[j], flags[i] })
	line := strings.TrimSpace(verb) + " " + key
	for _, flag := range flags {
		line += a.pick(" ", " ", "  ") + flag
	}
	line += a.pick("\r\n", "\r\n", "\n", " \r\n")
	if strings.HasPrefix(verb, "ms") {
		line += value + a.pick("\r\n", "\r\n", "\r\n", "\r\n", "\n")
	}
	var both [2]string
	for side := range both {
		unique := a.unique[side][key]
		if unique == "" {
			unique = "1"
		}
		both[side] = strings.Replace(line, "C@", fmt.Sprint("C", unique), 1)
	}
	return both
}
