package store

import "fmt"

// With the build tag invariants, memory that is given back is poisoned, so that whoever still reads it shows, and the figures
// of a shard are checked after every pass. Without it the compiler leaves all of this out.

const poison = 0xdb

// spoil overwrites memory that was given back.
func (a *arena) spoil(off, n uint64) {
	if invariants {
		b := a.mem[off : off+n]
		for i := range b {
			b[i] = poison
		}
	}
}

// check panics when the shard's figures contradict each other. The caller holds its lock.
func (sh *shard) check() {
	if !invariants {
		return
	}
	st := sh.st
	live, inLogs := int64(0), int64(0)
	for log := range st.logs {
		l := &st.logs[log]
		if l.live < 0 || l.live > l.used {
			panic(fmt.Sprintf("store: shard %d: log %d has %d live bytes of %d", sh.no, log, l.live, l.used))
		}
		live += l.live
		inLogs += l.items
	}
	items, bytes := int64(0), int64(0)
	for id := range st.routes {
		c := &st.routes[id]
		if c.items < 0 || c.neg < 0 || c.client < 0 || c.client > c.items || c.bytes < 0 {
			panic(fmt.Sprintf("store: shard %d: route %d has %+v", sh.no, id, *c))
		}
		items += int64(c.items)
		bytes += c.bytes
	}
	switch {
	case st.bytes != live || bytes < live:
		panic(fmt.Sprintf("store: shard %d: %d bytes in its logs, counted %d, by route %d", sh.no, live, st.bytes, bytes))
	case inLogs != st.items:
		panic(fmt.Sprintf("store: shard %d: %d items in its logs, counted %d", sh.no, inLogs, st.items))
	case st.items < items || st.negative < 0 || int64(st.idx.count) != st.items+st.negative:
		panic(fmt.Sprintf("store: shard %d: %d items, %d of routes, %d negative, %d in the index", sh.no, st.items, items, st.negative, st.idx.count))
	}
}
