package store

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// manySegments makes a store of one shard with about 200 segments or more, of records or of data, of keys "key 0" and so on.
func manySegments(t *testing.T, size int) (x tester, keys int) {
	t.Helper()
	x = newTester(t, Options{Memory: 7 << 20, MaxItem: 1 << 15})
	most := int64(x.z.capacity)
	if err := x.SetMemory(most); err != nil {
		t.Fatal(err)
	}
	for ; x.Stats().UsedBytes < most/7*6; keys++ {
		checkStatus(t, "set", x.write(Set, 0, fmt.Sprint("key ", keys), strings.Repeat("v", size-8)+fmt.Sprintf("%08d", keys), 0), Stored)
	}
	x.stop() // no pass but those of the test
	return x, keys
}

// TestSearchFindsTheEmptiestSegment by few segments in each lock hold, though some of them are given back meanwhile.
func TestSearchFindsTheEmptiestSegment(t *testing.T) {
	for name, size := range map[string]int{"of records": 1000, "of data": 6000} {
		t.Run(name, func(t *testing.T) {
			x, keys := manySegments(t, size)
			sh, ds := &x.shards[0], &x.data[0]
			seek, found, search := sh.seek, &sh.moving, &sh.search
			lists := [][2]uint32{{sh.st.logs[probation].head, sh.st.logs[probation].tail}, {sh.st.logs[mainLog].head, sh.st.logs[mainLog].tail}}
			if size > x.z.privateMax {
				seek, found, search = ds.seek, &ds.st.moveSeg, &ds.search
				lists = [][2]uint32{{ds.st.head, ds.st.tail}}
			}
			segments := 0
			for _, list := range lists {
				for seg := list[0]; seg != noSegment; seg = x.p.meta[seg].next {
					segments++
				}
			}
			perSegment := keys / segments
			del := func(from, n int) {
				for i := range n {
					x.del(0, fmt.Sprint("key ", from+i))
				}
			}
			del(keys/4, perSegment/2+1)
			del(keys/3, perSegment*3/4+1)
			run := func(between func(hold int)) (holds int) {
				for over := false; !over; holds++ {
					var looked int
					if looked, over = seek(); looked > searchMost || !over && looked < searchMost {
						t.Fatalf("hold %d looked at %d segments", holds, looked)
					}
					between(holds)
				}
				return holds
			}
			if holds := run(func(int) {}); holds < 3 || holds > segments/searchMost+1 {
				t.Errorf("%d lock holds for %d segments", holds, segments)
			}
			best, dead := noSegment, uint32(0)
			for _, list := range lists {
				for seg := list[0]; seg != list[1]; seg = x.p.meta[seg].next {
					if m := &x.p.meta[seg]; m.used-m.live > dead {
						best, dead = seg, m.used-m.live
					}
				}
			}
			if *found != best || dead < uint32(x.z.segment/4) {
				t.Errorf("found segment %d; the emptiest is %d, with %d dead bytes", *found, best, dead)
			}
			*found = noSegment
			// The segments that it is to look at next, and the best one so far, are given back while nobody holds the lock.
			gone := 0
			run(func(hold int) {
				if hold != 1 {
					return
				}
				at := search.at
				del(keys/4-perSegment, 3*perSegment)
				del(keys/3-perSegment, 3*perSegment)
				for i := 0; search.at == at && i < keys; i++ {
					x.del(0, fmt.Sprint("key ", i))
				}
				if search.at == at {
					t.Error("the next segment is still there")
				}
				gone++
			})
			if *found == best || gone == 0 {
				t.Errorf("found segment %d, which was given back", *found)
			}
			*found = noSegment
			verify(t, x.Store)
		})
	}
}

// TestTurnAsksFewSegmentsAtOnce: a turn of the reaper that goes on over many lock holds looks at what is due, and knows when the
// rest is.
func TestTurnAsksFewSegmentsAtOnce(t *testing.T) {
	x, keys := manySegments(t, 1000)
	sh := &x.shards[0]
	x.reapAll()
	end := x.c.now.Second() + 50
	for i := range 200 { // in a few segments
		x.Touch(fmt.Append(nil, "key ", keys/2+i), testHash(fmt.Append(nil, "key ", keys/2+i)), 0, x.c.now, end)
	}
	before := x.Stats()
	x.c.advance(2 * time.Minute) // the segment being written is looked at later
	x.beginTurn(sh)
	due, holds := 0, 0
	var r reaper
	for found, more := x.nextDue(sh, &r); more; found, more = x.nextDue(sh, &r) {
		if holds++; found {
			due++
			for x.reapSome(sh, &r) {
			}
		}
	}
	if after := x.Stats(); after.Items != before.Items-200 || due == 0 || due > 20 {
		t.Errorf("%d items of %d are over, %d segments were looked at", before.Items-after.Items, 200, due)
	}
	least, segments := notDue, 0
	for log := range sh.st.logs {
		for seg := sh.st.logs[log].head; seg != noSegment; seg = x.p.meta[seg].next {
			least = min(least, x.p.meta[seg].due)
			segments++
		}
	}
	if (holds+1)*searchMost < segments { // the last one found nothing
		t.Errorf("%d segments were asked in %d lock holds", segments, holds+1)
	}
	if got := sh.due.Load(); got > least {
		t.Errorf("the shard is due at %d, a segment at %d", got, least)
	}
	verify(t, x.Store)
}
