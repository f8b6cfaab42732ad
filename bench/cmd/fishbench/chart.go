package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Sizes of the chart in pixels.
const (
	chartWidth  = 760
	chartLabels = 220 // left of the bars
	chartRow    = 26
	chartTop    = 44
)

// chart draws a bar a case, as long as the median of the ratio to the peer, with a line from the least to the largest; a
// ratio of 1 stands where the upright line is. "" without a peer.
func (r *report) chart() string {
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
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, height)
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

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
