package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"strings"
)

// Sizes of the bars' chart in pixels.
const (
	chartWidth  = 760
	chartLabels = 220 // left of the bars
	chartRow    = 26
	chartTop    = 44
)

// draw prints the chart of a recorded run.
func draw(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	chart := r.chart()
	if chart == "" {
		return fmt.Errorf("%s: there is nothing to draw: it has no case with a peer", file)
	}
	_, err = os.Stdout.WriteString(chart)
	return err
}

// chart draws what the run found out about ours and the peer: curves where the cases lie on some, else bars. "" without a peer.
func (r *report) chart() string {
	if c := r.curves(); c != "" {
		return c
	}
	return r.bars()
}

// bars draws a bar a case, as long as the median of the ratio to the peer, with a line from the least to the largest; a
// ratio of 1 stands where the upright line is. "" without a peer.
func (r *report) bars() string {
	var rows []series
	most := 1.0
	for _, s := range r.Series {
		if s.B == "peer" {
			rows = append(rows, s)
			most = max(most, s.Ratio.Max)
		}
	}
	if len(rows) == 0 {
		return ""
	}
	height := chartTop + chartRow*len(rows) + 16
	x := func(ratio float64) float64 { return chartLabels + ratio/most*(chartWidth-chartLabels-60) }
	var b strings.Builder
	paper(&b, chartWidth, height)
	fmt.Fprintf(&b, `<text x="12" y="24" font-size="15" fill="#222222">Server CPU per operation, ours / the peer's (median, least to largest)</text>`+"\n")
	for i, s := range rows {
		y := chartTop + i*chartRow
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#222222">%s</text>`+"\n", chartLabels-10, y+15, escaped(s.Case))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="16" fill="#2b7a9b"/>`+"\n", chartLabels, y+2, x(s.Ratio.Median)-chartLabels)
		fmt.Fprintf(&b, `<path d="M%.1f %dH%.1f" stroke="#10303d" stroke-width="2"/>`+"\n", x(s.Ratio.Min), y+10, x(s.Ratio.Max))
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#222222">%.2f</text>`+"\n", x(s.Ratio.Max)+8, y+15, s.Ratio.Median)
	}
	fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#b03a2e" stroke-dasharray="4 3"/>`+"\n", x(1), chartTop-6, height-12)
	b.WriteString("</svg>\n")
	return b.String()
}

// paper begins a drawing.
func paper(b *strings.Builder, width, height int) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n",
		width, height, width, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
