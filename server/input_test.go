package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"swordfish/store"
)

// TestSpareBuffersAreGivenBack: a buffer is there for the next for a while, and then no more.
func TestSpareBuffersAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &buffers{limit: 1 << 20}
		first, _ := b.take(100_000, false)
		b.give(first, false)
		for range 5 {
			time.Sleep(spareAge / 2) // of the test's own clock
			again, _ := b.take(90_000, false)
			if &again[:1][0] != &first[:1][0] {
				t.Error("the buffer was not used again")
			}
			b.give(again, false)
		}
		if _, kept := b.bytes(); kept != int64(cap(first)) {
			t.Errorf("%d bytes are kept", kept)
		}
		time.Sleep(2 * spareAge)
		synctest.Wait()
		if used, kept := b.bytes(); used != 0 || kept != 0 {
			t.Errorf("%d bytes in use, %d kept", used, kept)
		}
		b.close()
	})
}

func TestBuffersAreBounded(t *testing.T) {
	b := &buffers{limit: 1 << 20}
	var all [][]byte
	for {
		buf, extra := b.take(100_000, false)
		if all = append(all, buf); extra {
			break
		}
	}
	if used, _ := b.bytes(); used > int64(b.limit+cap(all[0])) {
		t.Errorf("%d bytes were dealt out", used)
	}
	if buf, _ := b.take(5_000, false); buf != nil || !b.tight.Load() || b.has(5_000) {
		t.Error("there is more after the one beyond the limit")
	}
	for i, buf := range all {
		b.give(buf, i == len(all)-1)
	}
	if used, kept := b.bytes(); used != 0 || kept > int64(b.limit) || b.tight.Load() || !b.has(b.limit) {
		t.Errorf("%d bytes in use, %d kept", used, kept)
	}
	b.close()
}

// TestInputInAnyPieces: whatever the sizes of commands, of reads and of what is left over, the bytes come out as they went in,
// and all buffers come back.
func TestInputInAnyPieces(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		b := &buffers{limit: 300 << 10}
		shared := make([]byte, []int{keepInput, readBuffer}[rng.IntN(2)])
		var in input
		now := store.Time(0)
		var sent, got []byte
		var ends []int // of commands
		for range 20 {
			n := 1 + rng.IntN(1<<rng.IntN(19))
			sent = append(sent, bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, n)...)
			ends = append(ends, len(sent))
		}
		need := 0
		if rng.IntN(2) == 0 { // others leave little
			b.take(b.limit-rng.IntN(100<<10), false)
		}
		others, _ := b.bytes()
		for at := 0; at < len(sent); {
			space := in.space(b, shared, need, now)
			if len(space) == 0 {
				t.Fatalf("seed %d: no room with %d bytes held", seed, len(in.held))
			}
			n := min(1+rng.IntN(len(space)), len(sent)-at)
			copy(space, sent[at:at+n])
			at += n
			data := in.add(shared, n)
			need = 0
			for len(data) > 0 {
				length := ends[0] - len(got)
				if len(data) < length {
					if need = length; rng.IntN(3) == 0 && len(data) < 2000 {
						need = 0 // as with a line
					}
					break
				}
				got = append(got, data[:length]...)
				data, ends = data[length:], ends[1:]
			}
			in.hold(b, data, need, now)
			if len(data) == 0 && cap(in.held) > idleInput {
				t.Fatalf("seed %d: holds nothing and keeps %d bytes", seed, cap(in.held))
			}
			if used, _ := b.bytes(); in.large() != (used > others) || in.large() && used-others != int64(cap(in.held)) {
				t.Fatalf("seed %d: %d bytes are held in %d, %d are counted", seed, len(in.held), cap(in.held), used-others)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("seed %d: the bytes have changed", seed)
		}
		if used, _ := b.bytes(); used != others || in.extra {
			t.Fatalf("seed %d: %d bytes are still counted", seed, used-others)
		}
		b.close()
	}
}

// TestWhoLags: what counts is what a client has sent since it was given memory, by the time that it had.
func TestWhoLags(t *testing.T) {
	for _, test := range []struct {
		after store.Time // milliseconds
		sent  int
		want  bool
	}{
		{999, 0, false},
		{1000, 0, true},
		{1000, 63_999, true},
		{1000, 64_000, false},
		{10_000, 600_000, true},
		{10_000, 640_000, false},
	} {
		t.Run(fmt.Sprintf("%d bytes in %d ms", test.sent, test.after), func(t *testing.T) {
			b := &buffers{limit: 4 << 20}
			var in input
			in.hold(b, make([]byte, 10_000), 1_000_000, 5000)
			for sent := 0; sent < test.sent; {
				space := in.space(b, nil, 1_000_000, 5000)
				n := min(len(space), test.sent-sent)
				in.hold(b, in.add(nil, n), 1_000_000, 5000)
				sent += n
			}
			in.base, in.since = 10_000, 5000 // as though it had got the last buffer at once
			if got := in.lags(5000 + test.after); got != test.want {
				t.Errorf("lags: %v", got)
			}
			in.drop(b)
			b.close()
		})
	}
}
