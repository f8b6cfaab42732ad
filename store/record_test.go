package store

import (
	"bytes"
	"fmt"
	"testing"
)

// TestRecordRoundTrip puts records with every combination of fields and reads them again.
func TestRecordRoundTrip(t *testing.T) {
	flags := map[uint32]int{0: 0, 1: 1, 254: 1, 255: 5, 1 << 31: 5, 1<<32 - 1: 5} // and the bytes they take
	for f, size := range flags {
		for bits := range 1 << 4 {
			d := draft{key: []byte("a key"), flags: f, handle: 7, hits: 2, fetched: true}
			want := 2 + len(d.key) + size + 4
			if bits&1 != 0 {
				d.handle, d.value = noHandle, bytes.Repeat([]byte("v"), 200)
				want += 2 + len(d.value) - 4
			}
			if bits&2 != 0 {
				d.route, d.filled, d.state = 3, 99, stateClient
				want += 7
			}
			if bits&4 != 0 {
				d.hasExpiry, d.expiry = true, 1234
				want += 4
			}
			if bits&8 != 0 {
				d.cas = 1<<63 + 5
				want += 8
			}
			t.Run(fmt.Sprintf("flags=%d,fields=%04b", f, bits), func(t *testing.T) {
				if d.size() != want {
					t.Fatalf("%d bytes, want %d", d.size(), want)
				}
				raw := bytes.Repeat([]byte{0xff}, want+1)
				d.put(raw)
				if raw[want] != 0xff {
					t.Error("it takes more than its size")
				}
				var r record
				r.decode(raw)
				if r.offCAS != 0 {
					r.setCAS(d.cas)
				}
				r.decode(raw)
				if got := draftOf(&r); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", draft{
					key: d.key, value: d.value, handle: d.handle, flags: d.flags, cas: d.cas, expiry: d.expiry, hasExpiry: d.hasExpiry,
					route: d.route, block: d.route != 0, filled: d.filled, state: d.state, fetched: true, hits: 2,
				}) {
					t.Errorf("got %+v, want %+v", got, d)
				}
				if key, n := recordKey(raw); string(key) != "a key" || n != want || r.size != want {
					t.Errorf("key %q in %d bytes, decoded %d; want %d", key, n, r.size, want)
				}
			})
		}
	}
}
