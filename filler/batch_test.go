package filler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// load makes a rig's source of a function.
func load(f func(b *Batch)) func(*Options) {
	return func(o *Options) {
		o.Sources[0].Source = SourceFunc(func(_ context.Context, b *Batch) error { f(b); return nil })
	}
}

func text(n int) []Value { return []Value{{Text, []byte(strings.Repeat("x", n))}} }

func TestTooLargeValuesAreNotKept(t *testing.T) {
	const limit = 1000
	tests := map[string]struct {
		encode Encoding
		rows   Rows
		give   func(b *Batch)
		stored bool
	}{
		"fits":              {EncodeRaw, RowsOne, func(b *Batch) { b.Row(1, text(limit)) }, true},
		"one over":          {EncodeRaw, RowsOne, func(b *Batch) { b.Row(1, text(limit+1)) }, false},
		"far over":          {EncodeRaw, RowsOne, func(b *Batch) { b.Row(1, text(50*limit)) }, false},
		"a second row":      {EncodeRaw, RowsOne, func(b *Batch) { b.Row(1, text(limit+1)); b.Row(1, text(1)) }, false},
		"by its encoding":   {EncodeJSON, RowsOne, func(b *Batch) { b.Row(1, text(limit)) }, false},
		"blanks left out":   {EncodePHP, RowsOne, func(b *Batch) { b.Row(1, []Value{{JSON, []byte("[" + strings.Repeat(" ", limit) + "]")}}) }, true},
		"list fits":         {EncodeJSON, RowsList, func(b *Batch) { b.Row(1, text(400)); b.Row(1, text(400)) }, true},
		"list over":         {EncodeJSON, RowsList, func(b *Batch) { b.Row(1, text(400)); b.Row(1, text(600)); b.Row(1, text(1)) }, false},
		"list by its joins": {EncodePHP, RowsList, func(b *Batch) { b.Row(1, text(490)); b.Row(1, text(490)) }, false},
		"item fits":         {EncodeJSON, RowsList, func(b *Batch) { b.Item(1, []byte(strings.Repeat("x", limit)), 0, 0) }, true},
		"item over":         {EncodeRaw, RowsOne, func(b *Batch) { b.Item(1, []byte(strings.Repeat("x", limit+1)), 0, 0) }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				held := 0
				r := newRig(t, newFake(), func(o *Options) {
					load(func(b *Batch) { tt.give(b); held = len(b.out) })(o)
					o.MaxValue = limit
					o.Routes[0].Encode, o.Routes[0].Rows = tt.encode, tt.rows
				})
				r.get("k")
				synctest.Wait()
				st := r.stats()
				if stored := st.Stored == 1; stored != tt.stored || st.TooLarge != 1-st.Stored || r.shelf.failed["k"] != int(st.TooLarge) {
					t.Errorf("stored %d, too large %d, failed %v", st.Stored, st.TooLarge, r.shelf.failed)
				}
				if held > 2*limit {
					t.Errorf("the batch held %d bytes", held)
				}
				r.close()
			})
		})
	}
}

// TestBatchIsBoundedInBytes has 100 keys whose rows do not fit one batch: those left over are asked again, without a backoff.
func TestBatchIsBoundedInBytes(t *testing.T) {
	for _, rows := range []Rows{RowsOne, RowsList} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				most := 0
				gate := make(chan struct{})
				r := newRig(t, newFake(), func(o *Options) {
					load(func(b *Batch) {
						<-gate
						for i := b.Len(); i > 0; i-- {
							if string(b.Key(i-1)) != "none" {
								b.Row(int64(i), text(450))
								if rows == RowsList {
									b.Row(int64(i), text(450))
								}
							}
							most = max(most, len(b.out))
						}
					})(o)
					o.MaxValue, o.BatchBytes = 1000, 10_000
					o.Routes[0].Encode, o.Routes[0].Rows = EncodeJSON, rows
				})
				r.get("busy")
				synctest.Wait()
				for i := range 100 {
					r.get(fmt.Sprint("k", i))
				}
				r.get("none")
				close(gate)
				synctest.Wait() // without letting time go by
				st := r.stats()
				if st.Stored != 101 || st.Absent != 1 || st.Overflowed == 0 || st.Retried != 0 {
					t.Errorf("stored %d, absent %d, overflowed %d, retried %d", st.Stored, st.Absent, st.Overflowed, st.Retried)
				}
				if most > 10_000 {
					t.Errorf("a batch held %d bytes", most)
				}
				r.close()
			})
		})
	}
}

func TestItemKeepsFlagsAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		r := newRig(t, newFake(), func(o *Options) {
			load(func(b *Batch) {
				b.Item(1, []byte("as it is"), 77, 0)
				b.Item(1, []byte("again"), 1, 0)
				b.Row(1, text(1))
				b.Item(2, []byte("nobody's"), 1, 0)
			})(o)
			o.Routes[0].Encode, o.Routes[0].SetFlags, o.Routes[0].Flags = EncodePHP, true, 9
			put := o.Hooks.Put
			o.Hooks.PutTTL = func(l Lease, route uint16, key, value []byte, flags uint32, ttl time.Duration) PutStatus {
				got = append(got, fmt.Sprint(string(key), " ", ttl))
				return put(l, route, key, value, flags)
			}
		})
		r.get("k")
		synctest.Wait()
		if r.shelf.value("k") != "as it is" || r.shelf.flags["k"] != 77 || len(got) != 0 {
			t.Errorf("got %q, flags %d, %v", r.shelf.value("k"), r.shelf.flags["k"], got)
		}
		if st := r.stats(); st.ExtraRows != 2 || st.BadOrd != 1 {
			t.Errorf("extra rows %d, bad ord %d", st.ExtraRows, st.BadOrd)
		}
		r.close()

		with := func(ttl time.Duration, put bool) string {
			got = nil
			r := newRig(t, newFake(), func(o *Options) {
				load(func(b *Batch) { b.Item(1, []byte("v"), 0, ttl) })(o)
				if put {
					put := o.Hooks.Put
					o.Hooks.PutTTL = func(l Lease, route uint16, key, value []byte, flags uint32, ttl time.Duration) PutStatus {
						got = append(got, fmt.Sprint(ttl))
						return put(l, route, key, value, flags)
					}
				}
			})
			r.get("k")
			synctest.Wait()
			r.close()
			return fmt.Sprint(r.shelf.value("k"), got)
		}
		if a, b, c := with(time.Minute, true), with(time.Minute, false), with(-1, true); a != "v[1m0s]" || b != "v[]" || c != "v[]" {
			t.Errorf("got %s, without the hook %s, without a limit %s", a, b, c)
		}
	})
}

// TestFirstSourceIsNotHeldUpBySecond: what the first source has is put while the second still hangs.
func TestFirstSourceIsNotHeldUpBySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, main := newFake("a"), newFake("b")
		old.gate, main.gate = make(chan struct{}), make(chan struct{})
		r := newRig(t, old, func(o *Options) {
			o.Sources = append(o.Sources, SourceSpec{Name: "second", Source: main})
			o.Routes[0].Sources = []string{"main", "second"}
		})
		r.get("busy")
		synctest.Wait()
		r.get("a")
		r.get("b")
		close(old.gate)
		synctest.Wait()
		main.gate <- struct{}{}
		synctest.Wait()
		if r.shelf.value("a") != "row of a" || r.shelf.value("b") != "" {
			t.Errorf("got %v, want a alone", r.shelf.items)
		}
		close(main.gate)
		synctest.Wait()
		if r.shelf.value("b") != "row of b" || r.stats().Stored != 2 {
			t.Errorf("got %v", r.shelf.items)
		}
		r.close()
	})
}
