package store

// What the store tells of its items to those who only look on.

// Evicted is an item that has to make room.
type Evicted struct {
	Key     []byte // dies with the call
	Size    int    // of the value
	Fetched bool   // read at least once
	TTL     int64  // seconds it would have had left, -1 for no end
	Idle    uint32 // seconds since it was stored or read last, as far as that is remembered
}

// OnEvict has f called for every item that is evicted from now on, before it goes; nil ends that. f is called under the item's
// lock, possibly by several goroutines at once, and must neither call the store nor wait for anything that does.
func (s *Store) OnEvict(f func(*Evicted)) {
	if f == nil {
		s.onEvict.Store(nil)
		return
	}
	s.onEvict.Store(&f)
}

// evicted describes a record that is about to go.
func (sh *shard) evicted(k *held) Evicted {
	r := &k.rec
	e := Evicted{Key: r.key, Size: sh.s.valueSize(r), Fetched: r.meta&metaFetched != 0, TTL: -1, Idle: sh.sinceAccess(k, sh.now)}
	if r.expiry != 0 {
		e.TTL = int64(r.expiry) - int64(sh.now.Second())
	}
	return e
}

// valueSize returns the length of a record's value. The caller holds the lock of the record's shard.
func (s *Store) valueSize(r *record) int {
	if r.meta&metaInline != 0 {
		return len(r.value)
	}
	ds := s.dataShardOfHandle(r.handle)
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return len(ds.payload(ds.local(r.handle)))
}

// Peek returns the size of the value that key has, or why Get would find none. Nothing comes of it: no lease, no access, no
// record less.
func (s *Store) Peek(key []byte, hash uint64, route RouteID, now Time) (size int, why MissReason, ok bool) {
	sh := s.shardOf(hash)
	sh.lock(now)
	defer sh.mu.Unlock()
	var k held
	sh.look(&k, hash, key, route, now)
	if k.present() {
		return s.valueSize(&k.rec), Absent, true
	}
	return 0, k.missReason(), false
}
