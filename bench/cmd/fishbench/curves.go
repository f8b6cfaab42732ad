package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"swordfish/bench/stat"
)

// Sizes of a panel of curves in pixels; panels stand side by side, two a row.
const (
	panelWidth  = 370
	panelHeight = 300
	plotLeft    = 54
	plotRight   = 20
	plotTop     = 66
	plotBottom  = 46
)

// curve colours: ours and the peer.
var curveColours = [2]string{"#2b7a9b", "#b03a2e"}

// curves draws how ours and the peer grow: a panel each for CPU and memory over keys and over connections. A point is the
// median of the windows, the line through it their range. "" where no case lies on a curve.
func (r *report) curves() string {
	cpu := func(s series) [2]stat.Summary { return s.CPU }
	panels := []struct {
		title, over string
		of          func(series) [2]stat.Summary
		points      []series
	}{
		{title: "Server CPU, microseconds an operation", over: "keys", of: cpu},
		{title: "Resident memory, GiB", over: "keys", of: func(s series) [2]stat.Summary {
			return [2]stat.Summary{scaled(s.RSS[0], 1.0/1024), scaled(s.RSS[1], 1.0/1024)}
		}},
		{title: "Server CPU, microseconds an operation", over: "connections", of: cpu},
		{title: "Resident memory, MiB", over: "connections", of: func(s series) [2]stat.Summary { return s.RSS }},
	}
	for i := range panels {
		p := &panels[i]
		for _, s := range r.Series {
			if s.Over == p.over && s.B == "peer" {
				p.points = append(p.points, s)
			}
		}
		slices.SortFunc(p.points, func(a, b series) int { return a.At - b.At })
	}
	var b strings.Builder
	drawn := 0
	for _, p := range panels {
		if len(p.points) > 0 {
			fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", drawn%2*panelWidth, drawn/2*panelHeight)
			panel(&b, p.title, p.over, p.points, p.of)
			b.WriteString("</g>\n")
			drawn++
		}
	}
	if drawn == 0 {
		return ""
	}
	var all strings.Builder
	paper(&all, 2*panelWidth, (drawn+1)/2*panelHeight)
	return all.String() + b.String() + "</svg>\n"
}

// panel draws two curves over the logarithm of how many keys or connections there were.
func panel(b *strings.Builder, title, over string, points []series, of func(series) [2]stat.Summary) {
	low, high := math.Log(float64(points[0].At)), math.Log(float64(points[len(points)-1].At))
	x := func(s series) float64 {
		if high == low {
			return plotLeft
		}
		return plotLeft + (math.Log(float64(s.At))-low)/(high-low)*(panelWidth-plotLeft-plotRight)
	}
	most := 0.0
	for _, s := range points {
		most = max(most, of(s)[0].Max, of(s)[1].Max)
	}
	step := tick(most)
	top := max(math.Ceil(most/step), 1) * step
	y := func(v float64) float64 { return panelHeight - plotBottom - v/top*(panelHeight-plotTop-plotBottom) }

	fmt.Fprintf(b, `<text x="%d" y="24" font-size="15" fill="#222222">%s</text>`+"\n", 12, title)
	for i := 0; float64(i)*step <= top*1.001; i++ {
		v := float64(i) * step
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#dddddd"/>`+"\n", plotLeft, y(v), panelWidth-plotRight)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end" fill="#222222">%g</text>`+"\n", plotLeft-6, y(v)+4, math.Round(v*1000)/1000)
	}
	for _, s := range points {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#222222">%s</text>`+"\n", x(s), panelHeight-plotBottom+18, short(s.At))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle" fill="#222222">%s</text>`+"\n", (plotLeft+panelWidth-plotRight)/2, panelHeight-10, over)
	for side, name := range [2]string{"ours", "the peer"} {
		colour := curveColours[side]
		fmt.Fprintf(b, `<text x="%d" y="46" fill="%s">%s</text>`+"\n", plotLeft+80*side, colour, name)
		line := "M"
		for _, s := range points {
			f := of(s)[side]
			line += fmt.Sprintf("%.1f %.1f ", x(s), y(f.Median))
			fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-opacity="0.5" stroke-width="3"/>`+"\n", x(s), y(f.Min), y(f.Max), colour)
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(s), y(f.Median), colour)
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(line), colour)
	}
}

// tick is the distance of the lines of a scale up to most: 1, 2 or 5 times a power of ten, so that there are three to seven.
func tick(most float64) float64 {
	if most <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most/3)))
	for _, factor := range []float64{5, 2} {
		if factor*unit*3 <= most {
			return factor * unit
		}
	}
	return unit
}

// short writes n as a scale has it.
func short(n int) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%gM", float64(n)/1e6)
	case n >= 10_000:
		return fmt.Sprintf("%gk", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

func scaled(s stat.Summary, by float64) stat.Summary {
	s.Min, s.Median, s.Max, s.Low, s.High = s.Min*by, s.Median*by, s.Max*by, s.Low*by, s.High*by
	return s
}
