package server

import (
	"errors"
	"fmt"
	"sync"

	"swordfish/filler"
	"swordfish/protocol"
	"swordfish/store"
)

// Errors of Refresh and Invalidate. Their texts are for the one who asked.
var (
	ErrPlainKey   = errors.New("no route takes this key, so nothing loads it; explain tells why")
	ErrLoading    = errors.New("a load of this key is under way already; explain shows it")
	ErrQueueFull  = errors.New("too much waits to be loaded; try again later")
	ErrNotAllowed = errors.New("invalidate not allowed")
)

// hand is a ring to the filler for what operators ask, from whatever goroutine.
type hand struct {
	mu   sync.Mutex
	ring *filler.Ring // made when it is first needed
	over bool
}

// Refresh has a key loaded anew, whatever is held under it. The load goes its usual way: Refresh does not wait for it.
func (s *Server) Refresh(key string) error {
	canonical, id := s.resolve(key)
	if id == 0 || s.o.Filler == nil {
		return ErrPlainKey
	}
	hash := s.o.Seed.Key(canonical)
	l, ok := s.o.Filler.Loading(uint16(id), canonical, hash)
	if !ok {
		return ErrPlainKey
	}
	if l.Off {
		return fmt.Errorf("route %s is off; route %s on lets it load", l.Route.Name, l.Route.Name)
	}
	s.hand.mu.Lock()
	defer s.hand.mu.Unlock()
	if s.hand.over {
		return ErrStopped
	}
	if s.hand.ring == nil {
		s.hand.ring = s.o.Filler.NewRing()
	}
	var it store.Item
	s.o.Store.Refresh(canonical, hash, id, s.o.Store.Now(), &it)
	switch {
	case it.NoRoom:
		return ErrQueueFull
	case it.Lease.Serial == 0:
		return ErrLoading
	}
	if !s.hand.ring.Push(uint16(id), filler.LaneMiss, filler.Lease(it.Lease), canonical) {
		s.o.Store.EndLease(it.Lease)
		return ErrQueueFull
	}
	s.hand.ring.Flush()
	return nil
}

// close ends the ring. After it nothing is refreshed.
func (h *hand) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.ring != nil {
		h.ring.Close()
	}
}

// resolve returns the canonical spelling of a key and its route, and the key as it is for a plain one.
func (s *Server) resolve(key string) ([]byte, store.RouteID) {
	canonical, id := s.routes.Load().Append(nil, []byte(key))
	if id == 0 {
		return []byte(key), 0
	}
	return canonical, store.RouteID(id)
}

// Resolve appends the canonical spelling of a key to dst and tells its route; a plain key is appended as it is and has none. It is
// for those who fill the store beside the workers.
func (s *Server) Resolve(dst, key []byte) ([]byte, store.RouteID) {
	canonical, id := s.routes.Load().Append(dst, key)
	if id == 0 {
		return append(dst, key...), 0
	}
	return canonical, store.RouteID(id)
}

// done answers a change: OK, or why it could not be made.
func done(out []byte, err error) []byte {
	if err != nil {
		return protocol.AppendClientError(out, err.Error())
	}
	return protocol.AppendReply(out, protocol.OK)
}
