package filler

import (
	"strings"
	"sync"
	"time"
)

// Load is how one load went, and what it brought for one of its keys.
type Load struct {
	At     time.Time // its end
	Source string    // the last one asked; empty: none was
	Keys   int       // in the batch
	Rows   int       // that the last source returned
	Took   time.Duration
	Err    string // empty: it went well
	Result string // for the key
}

// recentLoads is how many keys' loads are remembered, all routes together: one a place, and the place follows from the key's
// hash, so that the memory is fixed.
const recentLoads = 1 << 14

// recent remembers the last loads.
type recent struct {
	mu    sync.Mutex
	loads []recentLoad // made with the first load
}

// recentLoad is a Load of one key; what all keys of a batch have in common is held once.
type recentLoad struct {
	hash  uint64
	load  *Load
	state resultState
}

var resultNames = [...]string{
	resultNone: "no row", resultValue: "a value", resultRefused: "refused by the query's parameter types", resultTooLarge: "a value that is too large",
	resultFailed: "failed", resultUnsure: "no row, and not every source was asked", resultLater: "failed, and is tried again",
}

// note remembers b, whose load has ended. It comes before the leases are ended, so that whoever finds an item finds its load.
func (m *recent) note(b *Batch, err error) {
	l := &Load{At: time.Now(), Source: b.source, Keys: len(b.items), Rows: b.rows, Took: b.took}
	if err != nil {
		l.Err, _, _ = strings.Cut(err.Error(), "\n") // a panic's stack follows
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loads == nil {
		m.loads = make([]recentLoad, recentLoads)
	}
	for i := range b.items {
		hash := b.items[i].lease.Hash
		m.loads[hash%recentLoads] = recentLoad{hash, l, b.results[i].state}
	}
}

// of returns the last load of the key with that hash, where it is remembered.
func (m *recent) of(hash uint64) (l Load, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loads == nil || m.loads[hash%recentLoads].hash != hash || m.loads[hash%recentLoads].load == nil {
		return Load{}, false
	}
	found := m.loads[hash%recentLoads]
	l = *found.load
	l.Result = resultNames[found.state]
	return l, true
}

// Loading is how a key of a route is loaded, for people.
type Loading struct {
	Route   Route // shared: not to be changed
	Off     bool
	Down    bool // none of its sources can be reached
	Refused bool // no source takes one of the key's parts, so it is never asked for

	Last  Load // the key's, where Known
	Known bool // it is among those that are remembered
}

// Loading tells how the key with that hash is loaded; false: there is no such route.
func (f *Filler) Loading(id uint16, key []byte, hash uint64) (l Loading, ok bool) {
	t := f.table.Load()
	for i, r := range t.routes {
		if r.id != id {
			continue
		}
		p := t.plans[i]
		l = Loading{Route: p.cfg, Off: r.off.Load(), Down: true}
		for _, fd := range p.feeds {
			l.Down = l.Down && fd.src.down.Load()
		}
		_, l.Refused = p.refused(nil, key)
		l.Last, l.Known = f.recent.of(hash)
		return l, true
	}
	return Loading{}, false
}
