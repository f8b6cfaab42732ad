package server

import (
	"encoding/binary"

	"swordfish/store"
)

// tape is where a worker's samples lie until the log of requests takes them: its memory is fixed, and what finds no room is counted.
// The sampler's lock guards it.
type tape struct {
	buf  []byte // records: weight 4, route 2, length 1, key. Nil: nobody wants them
	lost uint64 // samples
}

// tapeSize holds the most samples there are in a second, with keys of 120 bytes.
const (
	tapeSize = sampleMost * (tapeHead + 120)
	tapeHead = 7
)

// add notes a sample that stands for so many gets.
func (t *tape) add(q *store.Lookup, weight int) {
	if t.buf == nil {
		return
	}
	if cap(t.buf)-len(t.buf) < tapeHead+len(q.Key) {
		t.lost++
		return
	}
	t.buf = binary.LittleEndian.AppendUint32(t.buf, uint32(weight))
	t.buf = binary.LittleEndian.AppendUint16(t.buf, uint16(q.Route))
	t.buf = append(append(t.buf, uint8(len(q.Key))), q.Key...)
}

// eachTaped reads a tape. key is valid during the call only.
func eachTaped(buf []byte, visit func(key []byte, route store.RouteID, weight uint64)) {
	for len(buf) >= tapeHead {
		weight, route, n := binary.LittleEndian.Uint32(buf), binary.LittleEndian.Uint16(buf[4:]), int(buf[6])
		visit(buf[tapeHead:tapeHead+n], store.RouteID(route), uint64(weight))
		buf = buf[tapeHead+n:]
	}
}

// TakeRequests hands the gets over that were sampled since the last call, in canonical spelling, each standing for so many, and
// returns how many samples were lost, in all, because they were not taken in time. It wants to be called twice a second, by one
// goroutine at a time; before the first call nothing is kept. The name of the route is empty for a plain key.
func (s *Server) TakeRequests(visit func(route string, key []byte, weight uint64)) (lost uint64) {
	names := s.routeNames()
	if s.spare == nil {
		s.spare = make([]byte, 0, tapeSize)
	}
	for _, w := range s.workers {
		p := &w.sample
		p.mu.Lock()
		full := p.tape.buf
		p.tape.buf = s.spare[:0]
		lost += p.tape.lost
		p.mu.Unlock()
		eachTaped(full, func(key []byte, route store.RouteID, weight uint64) {
			if name := names[route]; name != "" || route == 0 {
				visit(name, key, weight)
			}
		})
		if s.spare = full; full == nil {
			s.spare = make([]byte, 0, tapeSize)
		}
	}
	return lost
}
