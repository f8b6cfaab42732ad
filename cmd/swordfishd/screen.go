package main

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is a terminal that is drawn on as a whole. What was on it before is there again after close.
type screen struct {
	in, out *os.File
	before  *term.State
	keys    <-chan byte // what is typed, as it is typed; closed when there is no more
}

// Terminals' words: another page and no cursor, and back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	boldText    = "\x1b[1m"
	plainText   = "\x1b[0m"
)

// openScreen takes the terminal over. Keys come one by one and are not shown, and Ctrl-C is a key.
func openScreen(in, out *os.File) (*screen, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	keys := make(chan byte)
	s := &screen{in: in, out: out, before: before, keys: keys}
	s.write(enterScreen)
	go func() { // it ends with the terminal, or the process
		defer close(keys)
		for b := make([]byte, 1); ; {
			if n, err := in.Read(b); n == 0 || err != nil {
				return
			}
			keys <- b[0]
		}
	}()
	return s, nil
}

func (s *screen) close() {
	s.write(leaveScreen)
	_ = term.Restore(int(s.in.Fd()), s.before) // an error says that the terminal is gone
}

func (s *screen) write(text string) { _, _ = s.out.WriteString(text) } // an error shows in keys, which end

// size returns the terminal's columns and lines.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}

// fold breaks what is wider than the terminal behind commas and semicolons, up to the first empty line: tables follow it.
func fold(lines []string, width int) []string {
	const indent = "          "
	var all []string
	for i, line := range lines {
		if line == "" {
			return append(all, lines[i:]...)
		}
		for len(line) > width {
			at := max(strings.LastIndex(line[:width], "; "), strings.LastIndex(line[:width], ", "))
			if at < len(indent) {
				break
			}
			all = append(all, line[:at+1])
			line = indent + line[at+2:]
		}
		all = append(all, line)
	}
	return all
}

// draw shows lines, as far as the terminal has room for them.
func (s *screen) draw(lines []string) {
	width, height := s.size()
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		text, bold := strings.CutPrefix(line, boldText)
		text = strings.TrimSuffix(text, plainText)
		for utf8.RuneCountInString(text) > width {
			_, last := utf8.DecodeLastRuneInString(text)
			text = text[:len(text)-last]
		}
		if bold {
			text = boldText + text + plainText
		}
		b.WriteString(text + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	s.write(b.String())
}
