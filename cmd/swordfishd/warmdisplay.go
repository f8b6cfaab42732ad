package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"swordfish/warm"
)

// display shows a warm-up's progress: as a bar on a terminal, else as a line now and then.
type display struct {
	out  io.Writer
	next time.Time // of the next line
	bars *mpb.Progress
	bar  *mpb.Bar // nil before the first progress, and without a terminal
	last atomic.Pointer[warm.Progress]
}

// lineEvery is how often a line is written where there is no terminal.
const lineEvery = 5 * time.Second

func newDisplay(out io.Writer) *display {
	d := &display{out: out}
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		d.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
	}
	return d
}

// tell shows how far it is.
func (d *display) tell(p *warm.Progress) {
	kept := *p
	d.last.Store(&kept)
	if d.bars == nil {
		if now := time.Now(); now.After(d.next) {
			d.next = now.Add(lineEvery)
			fmt.Fprintln(d.out, progressText(p))
		}
		return
	}
	if d.bar == nil {
		name := decor.Any(func(st decor.Statistics) string { return barTitle(d.last.Load(), st.AvailableWidth) })
		figures := decor.Any(func(st decor.Statistics) string { return barText(d.last.Load(), st.AvailableWidth) })
		d.bar = d.bars.New(0, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
			mpb.PrependDecorators(name), mpb.AppendDecorators(figures))
	}
	d.bar.SetTotal(max(p.Total, p.Seen, 1), false)
	d.bar.SetCurrent(p.Seen)
}

// end leaves the last figures standing.
func (d *display) end(p *warm.Progress) {
	if d.bar != nil {
		d.bar.Abort(false)
		d.bars.Wait()
	} else if d.bars != nil {
		d.bars.Shutdown()
	}
	if p.State != "" {
		fmt.Fprintln(d.out, endText(p))
	}
}

func title(p *warm.Progress) string {
	name := p.Route
	if name == "" {
		name = "all keys"
	}
	if p.From == warm.Keys {
		return name + " of a list "
	}
	return fmt.Sprintf("%s from %s ", name, p.From)
}

// barTitle stands before the bar, in less than half of the terminal's columns.
func barTitle(p *warm.Progress, columns int) string {
	name := title(p)
	if len(name) <= columns*2/5 {
		return name
	}
	if p.Route == "" {
		name = string(p.From)
	} else {
		name = p.Route // a name has ASCII letters
	}
	return name[:min(len(name), columns/4)] + " "
}

// barText stands behind the bar: what is there, the rate, the time that is left, and what slows it down. Where the columns that are left
// have no room for all of that and a bar, the bar goes first, and the time that is left last.
func barText(p *warm.Progress, columns int) string {
	const share, keys, rate, left, slower = 0, 1, 2, 3, 4
	words := []string{fmt.Sprintf(" %5.1f%%", 100*p.Share), fmt.Sprintf("%d keys", p.Seen), fmt.Sprintf("%.0f/s", p.Rate), leftText(p), ""}
	if words[left] != "" {
		words[left] += " left"
	}
	if p.Slower > 1.1 {
		words[slower] = fmt.Sprintf("database %.1fx slower", p.Slower)
	}
	text := func() string {
		return strings.Join(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" }), ", ")
	}
	const bar = 12
	for _, dropped := range []int{share, keys, slower} { // first none
		if dropped != share {
			words[dropped] = ""
		}
		if len(text()) <= columns-bar {
			return text()
		}
	}
	for _, dropped := range []int{rate, left} {
		if len(text()) <= columns {
			break
		}
		words[dropped] = ""
	}
	return text()
}

// progressText is a line without a terminal.
func progressText(p *warm.Progress) string {
	text := fmt.Sprintf("%s%s, %.0f/s", title(p), shareText(p), p.Rate)
	if p.Total > 0 {
		text = fmt.Sprintf("%s%s, %d looked at, %.0f/s", title(p), shareText(p), p.Seen, p.Rate)
	}
	if left := leftText(p); left != "" {
		text += ", " + left + " left"
	}
	return text
}

// endText is the last line.
func endText(p *warm.Progress) string {
	state := p.State
	if state == warm.Running { // the server stops it as soon as it sees us gone
		state = warm.Stopped
	}
	text := fmt.Sprintf("%s%s after %.1fs: %d looked at, %d loaded, %d were there, %d have no row", title(p), state, p.Seconds, p.Seen, p.Loaded, p.Present, p.NoRow)
	if p.From == warm.Memcached || p.From == warm.Peer {
		text = strings.Replace(text, "have no row", "had gone", 1)
	}
	for _, more := range []struct {
		n    int64
		what string
	}{{p.Failed, "failed"}, {p.Passed, "passed over"}} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	if p.Resumed {
		text += "; it went on where one before had stopped"
	}
	return text
}
