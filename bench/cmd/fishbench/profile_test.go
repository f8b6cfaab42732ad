package main

import (
	"math"
	"strings"
	"testing"
)

const perfReport = `# To display the perf.data header info, please use --header/--header-only options.
#
# Samples: 10  of event 'cpu-clock'
#
#      Samples  Shared Object      Symbol
# ............  .................  ......
#
            40  [kernel.kallsyms]  [k] tcp_sendmsg
            30  server             [.] store.(*Store[go.shape.int]).Get
            12  [kernel.kallsyms]  [k] fput
            10  /opt/libc.so.6     [.] 0x00000000000a1b2c
             5  /opt/libc.so.6     [.] 0x00000000000a1b2d
             3  server             [.] a|b


`

func TestParsePerf(t *testing.T) {
	p, err := parsePerf(perfReport)
	if err != nil {
		t.Fatal(err)
	}
	want := []hot{
		{0.4, "kernel", "tcp_sendmsg"},
		{0.3, "server", "store.(*Store[go.shape.int]).Get"},
		{0.15, "libc.so.6", "(no name)"},
		{0.12, "kernel", "fput"},
		{0.03, "server", "a|b"},
	}
	if p.Samples != 100 || math.Abs(p.Kernel-0.52) > 1e-9 || len(p.Symbols) != len(want) {
		t.Fatalf("got %+v", p)
	}
	for i, h := range p.Symbols {
		if h != want[i] {
			t.Errorf("row %d: got %+v, want %+v", i, h, want[i])
		}
	}
	for name, out := range map[string]string{"nothing": "# Samples: 0\n", "something else": "Error: no such file\n"} {
		if _, err := parsePerf(out); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestProfiles(t *testing.T) {
	p, err := parsePerf(perfReport)
	if err != nil {
		t.Fatal(err)
	}
	of := func(name, server string, symbols int) profile {
		q := p
		q.Case, q.Server, q.Symbols = name, server, p.Symbols[:symbols]
		return q
	}
	r := report{Profiles: []profile{of("pipeline 1", "ours", 5), of("pipeline 1", "peer", 1), of("pipeline 64", "ours", 1)}}
	text := r.profiles()
	for _, want := range []string{
		"## pipeline 1\n\n| ours | share | peer | share |\n|---|---|---|---|\n| **kernel, of 100 samples** | **52.0 %** | **kernel, of 100 samples** | **52.0 %** |\n" +
			"| kernel: `tcp_sendmsg` | 40.0 % | kernel: `tcp_sendmsg` | 40.0 % |\n",
		"| server: `a\\|b` | 3.0 % | | |\n",
		"## pipeline 64\n\n| ours | share |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if (&report{}).profiles() != "" {
		t.Error("a page of profiles without any")
	}
}
