package replay

import (
	"fmt"
	"math"
)

// Outcome is what a replay into the store found.
type Outcome struct {
	Misses int
	Held   int // objects, on average from the first eviction on; without one, at the end
	Shards int
}

// samples is how often a replay looks at the number of objects held.
const samples = 4000

// Replay asks a new store for all ids in their order.
func (e Equal) Replay(ids []uint32) (Outcome, error) {
	p, err := e.Open()
	if err != nil {
		return Outcome{}, err
	}
	defer p.Close()
	o := Outcome{Shards: p.Shards()}
	sum, n := 0, 0
	look := func() {
		s := p.Stats()
		items := int(s.Items)
		if s.Evictions == 0 {
			o.Held = items
			return
		}
		sum += items
		n++
		o.Held = (sum + n/2) / n
	}
	every := len(ids)/samples + 1
	for i, id := range ids {
		if !p.Ask(id) {
			o.Misses++
		}
		if i%every == 0 {
			look()
		}
	}
	look()
	return o, p.Err()
}

// Near is how far from the number asked for a store may be that Fit finds, as a share of it.
const Near = 0.015

// Fit looks for a store that holds about n objects while ids are replayed, by replaying them at several limits, each time
// telling progress what it tried. How many objects fit is not a matter of arithmetic: it depends on what is dead in
// segments, on the index's growth and on the reserve. The result is the nearest that was found.
func Fit(ids []uint32, n int, seed uint64, progress func(Equal, Outcome)) (Equal, error) {
	// About 300 bytes an object, more where few objects are to fill the smallest store.
	const usable = 0.8
	e := Equal{Seed: seed, Value: min(max(int(usable*MemoryLeast/float64(n))-equalKey-16, 80), ValueMost)}
	e.Memory = max(int64(float64(n*(e.Value+equalKey+16))/usable), MemoryLeast)
	best, off := e, math.Inf(1)
	for range 6 {
		o, err := e.Replay(ids)
		if err != nil {
			return e, err
		}
		progress(e, o)
		ratio := float64(n) / float64(o.Held)
		if d := math.Abs(math.Log(ratio)); d < off {
			best, off = e, d
		}
		next := max(int64(float64(e.Memory)*ratio), MemoryLeast)
		if off < Near || next == e.Memory {
			break
		}
		e.Memory = next
	}
	return best, nil
}

// Compared is one replay beside the models that hold as many objects.
type Compared struct {
	Outcome
	Segmented, LRU, S3FIFO, Ideal int // misses; Ideal is our policy without segments, shards and prints
}

// Compare replays ids into e and asks the models.
func Compare(e Equal, ids []uint32, objects int) (Compared, error) {
	o, err := e.Replay(ids)
	if err != nil {
		return Compared{}, err
	}
	if o.Held < 1 {
		return Compared{}, fmt.Errorf("replay: a limit of %d bytes holds nothing", e.Memory)
	}
	return Compared{
		Outcome:   o,
		Segmented: Misses(NewSegmented(objects, o.Held), ids),
		LRU:       Misses(NewLRU(objects, o.Held), ids),
		S3FIFO:    Misses(NewGated(S3FIFO, objects, o.Held), ids),
		Ideal:     Misses(NewGated(Ours, objects, o.Held), ids),
	}, nil
}
