package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"

	"swordfish/bench/load"
	"swordfish/bench/replay"
	"swordfish/bench/target"
)

// pair are the two servers that are compared.
type pair struct{ ours, peer target.Spec }

func newPair(o *options) (p pair, err error) {
	if o.peer == "" {
		return p, errors.New("no peer: name it with -peer or MEMCACHED_BIN")
	}
	spec := func(name, path string) (target.Spec, error) {
		path, err := exec.LookPath(path)
		if err != nil {
			return target.Spec{}, err
		}
		path, err = filepath.Abs(path)
		return target.Spec{Name: name, Path: path, Threads: 1, Conns: 64}, err
	}
	if p.ours, err = spec("ours", o.ours); err != nil {
		return p, err
	}
	p.peer, err = spec("peer", o.peer)
	return p, err
}

// outcome is what one server missed.
type outcome struct {
	misses, refused int
	held            int // objects on average, from the first eviction on
	version         string
}

// looks is how often a replay asks a server how many objects it holds.
const looks = 50

// play starts the server with memory megabytes and replays ids into it.
func play(spec target.Spec, memory int, ids []uint32, w replay.WireOptions, r *report) (out outcome, err error) {
	spec.Memory = memory
	s, err := target.Start(spec)
	if err != nil {
		return out, err
	}
	defer s.Stop()
	out.version = s.Version
	wire, err := replay.Dial(s.Addr, w)
	if err != nil {
		return out, err
	}
	defer wire.Close()
	sum, n, next := 0, 0, 0
	look := func() error {
		st, err := s.Stats()
		if err != nil {
			return err
		}
		items, err1 := strconv.Atoi(st["curr_items"])
		evictions, err2 := strconv.Atoi(st["evictions"])
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if evictions == 0 {
			out.held = items
			return nil
		}
		sum += items
		n++
		out.held = sum / n
		return nil
	}
	var failed error
	out.misses, err = wire.Replay(ids, func(done int) {
		if done < next || failed != nil {
			return
		}
		next = done + len(ids)/looks + 1
		failed = look()
		if failed == nil && r.late() {
			failed = errLimit
		}
	})
	out.refused = wire.Refused
	return out, errors.Join(err, failed, look())
}

// memoryFor looks for the -m at which the peer holds about as many of the trace's objects as the point says.
func memoryFor(spec target.Spec, p *point, w replay.WireOptions, r *report) (int, error) {
	ids := strangers(p.trace.Objects)
	memory := 4
	for range 5 {
		out, err := play(spec, memory, ids, w, r)
		if err != nil {
			return 0, err
		}
		r.progressf("%s: the peer holds %d objects at -m %d", p, out.held, memory)
		if out.held == len(ids) {
			return 0, fmt.Errorf("the peer holds all %d objects at -m %d", len(ids), memory)
		}
		better := max(int(float64(memory)*float64(p.objects)/float64(out.held)+0.5), 2)
		if better == memory {
			break
		}
		memory = better
	}
	return memory, nil
}

// valuesOf is how the trace's objects are stored.
func (o *options) valuesOf(t *load.Trace) (w replay.WireOptions, what string) {
	w = replay.WireOptions{Window: o.window, Objects: t.Objects, Size: o.size, Sizes: t.Sizes, Fresh: o.fresh}
	if t.Sizes != nil {
		return w, "the trace's"
	}
	return w, fmt.Sprintf("%d B", o.size)
}

// servers replays each trace into both servers with equal -m.
func servers(o *options, r *report) error {
	p, err := newPair(o)
	if err != nil {
		return err
	}
	r.addf(`Miss ratios of two servers with equal -m, each asked over one connection in the trace's order and given what it missed.
Keys have 36 bytes; values are random bytes, different for each key%s. -m is chosen so that the peer
holds about the stated share of the trace's objects. "Held" is curr_items, on average from the first eviction on. "Model" is
segmented LRU with as many equal objects as the peer held: it should miss what the peer missed.

| trace | cache | value | -m | peer held | ours held | peer missed | model | ours missed | **ours / peer** |
|---|---|---|---|---|---|---|---|---|---|
`, map[bool]string{false: " and the same whenever it is set", true: " and each time it is set"}[o.fresh])
	all := map[string]ratios{}
	var order []string
	var every ratios
	var versions [2]string
	err = o.eachPoint(r, "0.1,0.25", 10_000, func(pt *point) error {
		t := pt.trace
		w, what := o.valuesOf(t)
		memory, err := memoryFor(p.peer, pt, w, r)
		if err != nil {
			return err
		}
		peer, err := play(p.peer, memory, t.IDs, w, r)
		if err != nil {
			return err
		}
		ours, err := play(p.ours, memory, t.IDs, w, r)
		if err != nil {
			return err
		}
		versions = [2]string{peer.version, ours.version}
		ratio := share(ours.misses, peer.misses)
		r.progressf("%s: -m %d: the peer missed %d holding %d, ours %d holding %d: %.3f", pt, memory, peer.misses, peer.held, ours.misses, ours.held, ratio)
		if peer.refused+ours.refused > 0 {
			r.progressf("%s: sets not stored: the peer %d, ours %d", pt, peer.refused, ours.refused)
		}
		model := "-"
		if t.Sizes == nil {
			model = fmt.Sprintf("%.4f", share(replay.Misses(replay.NewSegmented(t.Objects, peer.held), t.IDs), len(t.IDs)))
		}
		size := fmt.Sprintf("%g %%", pt.share*100)
		r.addf("| %s | %s | %s | %d | %d | %d | %.4f | %s | %.4f | **%.3f** |\n", pt.name, size, what, memory, peer.held, ours.held,
			share(peer.misses, len(t.IDs)), model, share(ours.misses, len(t.IDs)), ratio)
		if peer.refused+ours.refused > 0 {
			r.addf("| | | sets not stored | | %d | %d | | | | |\n", peer.refused, ours.refused)
		}
		if all[size] == nil {
			order = append(order, size)
		}
		all[size] = append(all[size], ratio)
		every = append(every, ratio)
		return nil
	})
	r.addf("\nThe peer is %s %s, ours %s.\n\nOurs in relation to the peer:\n\n", filepath.Base(p.peer.Path), versions[0], filepath.Base(p.ours.Path))
	for _, size := range order {
		r.addf("- caches of about %s, %d points: %s\n", size, len(all[size]), all[size])
	}
	r.addf("- **all %d points: %s**\n", len(every), every)
	return err
}

// windows shows what it changes that gets travel together: one trace, several windows, both servers.
func windows(o *options, r *report) error {
	p, err := newPair(o)
	if err != nil {
		return err
	}
	r.addf("What a window of several gets changes against one request at a time; -m as for the other tables.\n\n")
	r.addf("| trace | cache | -m | server | window | missed | against window 1 |\n|---|---|---|---|---|---|---|\n")
	return o.eachPoint(r, "0.1", 10_000, func(pt *point) error {
		w, _ := o.valuesOf(pt.trace)
		memory, err := memoryFor(p.peer, pt, w, r)
		if err != nil {
			return err
		}
		for _, spec := range []target.Spec{p.peer, p.ours} {
			var one int
			for _, window := range []int{1, 1, 16, 64, 256} {
				w.Window = window
				out, err := play(spec, memory, pt.trace.IDs, w, r)
				if err != nil {
					return err
				}
				if one == 0 {
					one = out.misses
				}
				r.progressf("%s: %s, window %d: %d missed", pt, spec.Name, window, out.misses)
				r.addf("| %s | %g %% | %d | %s | %d | %.5f | %+.3f %% |\n", pt.name, pt.share*100, memory, spec.Name, window,
					share(out.misses, len(pt.trace.IDs)), 100*(share(out.misses, one)-1))
			}
		}
		return nil
	})
}
