package store

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// A store can go over to another process while it is in use: its memory is a file, with a name or without, that the other
// one maps as well. At any time one of the two owns it. The old one calls HandOver, and from then on nothing of it touches the
// memory; the new one has opened it with Options.Inherit and calls Begin. Until Begin it writes nothing but the table of
// routes, of which HandOver keeps a copy, so that TakeBack makes the old one the owner again as if nothing had been.

// Inherited is the memory of another process's store with the rest of its state.
type Inherited struct {
	File  *os.File // becomes the store's
	State Handed
}

// Handed is what of a store does not lie in its memory: plain values, for any encoding.
type Handed struct {
	Clock    Time  // of the item clock
	Mono     int64 // the same moment of this machine's monotonic clock, nanoseconds
	Prefixes []HandedPrefix
	Prefixed uint64 // how many prefixes have been invalidated
}

// HandedPrefix is an invalidated prefix as a shard has noted it.
type HandedPrefix struct {
	Shard  int
	Prefix string
	No     uint64
	Pos    [logCount]uint64
}

// ErrInherit says that a memory cannot be gone on with.
var ErrInherit = errors.New("store: this memory cannot be taken over")

// File returns what holds the memory, for another process to Inherit. Nil: it cannot be handed over.
func (s *Store) File() *os.File {
	if !s.a.mapped {
		return nil
	}
	return s.a.file
}

// InheritedSeed returns the secret that the store in f was made with.
func InheritedSeed(f *os.File) ([16]byte, error) {
	a, err := newArenaOver(f, sizeOf[header]())
	if err != nil {
		return [16]byte{}, fmt.Errorf("%w: %w", ErrInherit, err)
	}
	if h := at[header](a, 0); h.magic == arenaMagic {
		return h.seed, nil
	}
	return [16]byte{}, fmt.Errorf("%w: it is no memory of this program", ErrInherit)
}

// CheckInherit tells whether f holds a memory that this program knows, before it is handed over: an error wraps ErrInherit.
func CheckInherit(f *os.File) error {
	seed, err := InheritedSeed(f)
	if err != nil {
		return err
	}
	_, err = (&Store{opt: Options{Seed: seed, MaxItem: 1 << 20}}).inheritable(f)
	return err
}

// inheritable returns the sizes of the memory in f, if it is one for these options.
func (s *Store) inheritable(f *os.File) (sizes, error) {
	a, err := newArenaOver(f, sizeOf[header]())
	if err != nil {
		return s.z, fmt.Errorf("%w: %w", ErrInherit, err)
	}
	st, err := f.Stat()
	if err != nil {
		return s.z, fmt.Errorf("%w: %w", ErrInherit, err)
	}
	if h := at[header](a, 0); h.magic == arenaMagic && h.memory >= 1<<20 && h.capacity >= h.memory && h.capacity <= 1<<50 {
		s.z = derive(h.memory, h.capacity, s.opt.MaxItem)
	}
	if why := s.unfit(f, uint64(st.Size())); why != "" {
		return s.z, fmt.Errorf("%w: %s", ErrInherit, why)
	}
	return s.z, nil
}

// inherit maps the memory of Options.Inherit.
func (s *Store) inherit() (err error) {
	f := s.opt.Inherit.File
	if s.z, err = s.inheritable(f); err != nil {
		return err
	}
	if s.a, err = mapShared(f, s.z.total); err != nil {
		return err
	}
	h := &s.opt.Inherit.State
	if s.opt.Clock == nil {
		s.clock = func() Time { return h.Clock + Time((monotonic()-h.Mono)/int64(time.Millisecond)) }
	}
	return nil
}

// HandOver ends all use of the memory by this process, with the state in it whole, and returns the rest of the state. The
// caller has seen to it that no write is under way; whoever asks for anything from now on waits until TakeBack, or for ever.
func (s *Store) HandOver() Handed {
	s.stop()
	s.making <- struct{}{} // nobody is in AwaitRoom now, and nobody begins
	s.hdr.saved = s.hold()
	h := Handed{Clock: s.Now(), Mono: monotonic(), Prefixed: s.epochs.prefixed}
	for i := range s.shards {
		for _, p := range s.shards[i].prefixes {
			h.Prefixes = append(h.Prefixes, HandedPrefix{i, p.prefix, p.no, p.pos})
		}
	}
	s.kept = *s.hdr
	return h
}

// TakeBack makes this process the owner again after a HandOver. The other one must have ended without a Begin.
func (s *Store) TakeBack() {
	*s.hdr = s.kept
	s.p.mu.Unlock()
	s.epochs.mu.Unlock()
	for i := range s.data {
		s.data[i].mu.Unlock()
	}
	for i := range s.shards {
		s.shards[i].mu.Unlock()
	}
	s.routeMu.Unlock()
	s.reaping.Unlock()
	s.start()
	<-s.making
}

// Begin makes this process the owner of the memory that it has inherited. Open leases have ended: the next Get opens another.
func (s *Store) Begin() {
	h := &s.opt.Inherit.State
	s.resume()
	s.setReserve()
	s.epochs.prefixed = h.Prefixed
	for i := range s.shards {
		s.shards[i].seenPrefixes = h.Prefixed
	}
	known := make(map[uint64]bool)
	for _, p := range h.Prefixes {
		if p.Shard < 0 || p.Shard >= len(s.shards) {
			continue
		}
		e := prefixEpoch{p.Prefix, p.No}
		s.shards[p.Shard].prefixes = append(s.shards[p.Shard].prefixes, shardPrefix{e, p.Pos})
		if !known[p.No] {
			known[p.No] = true
			s.epochs.prefixes = append(s.epochs.prefixes, e)
		}
	}
	for i := range s.shards { // routes may have changed, and their shares are not counted yet
		sh := &s.shards[i]
		sh.lock(s.Now())
		sh.tally()
		sh.sweep()
		sh.mu.Unlock()
	}
	s.start()
}
