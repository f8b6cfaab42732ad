package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"swordfish/config"
	"swordfish/hasher"
)

// estimateHelp is the part of help about estimate.
const estimateHelp = `
estimate counts what holding equal values once would save, and the memory of swordfishd and memcached for the same items. It keeps
hashes only. --from is one of
  FILE, or - for standard input          lines key<TAB>value, as psql's COPY ... TO STDOUT writes them: \t, \n and \\ in values
  sql                                    --query=SQL with columns key and value, on --source=NAME of --config or --dsn=DSN;
                                         without --query the items of all routes of --config that have keys:
  memcached                              --server=HOST:PORT; its items by lru_crawler metadump, --rate=N of them a second, 20000
  --json                                 the answer as JSON
`

// estimateOptions are what estimate was told.
type estimateOptions struct {
	from, query, source, dsn, server string
	rate                             int
	json                             bool
}

// estimate says what dedup would save.
func estimate(args []string, out, errOut io.Writer) error {
	var o estimateOptions
	rate := "20000"
	c, err := load(config.Input{
		Args:     args,
		Own:      map[string]*string{"from": &o.from, "query": &o.query, "source": &o.source, "dsn": &o.dsn, "server": &o.server, "rate": &rate},
		OwnFlags: map[string]*bool{"json": &o.json},
	}, out)
	if err != nil || c == nil {
		return err
	}
	if o.rate, err = strconv.Atoi(rate); err != nil || o.rate < 1 {
		return usageError{fmt.Errorf("--rate: %q: write how many items a second may be asked for, such as 20000", rate)}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t := newTally()
	began := time.Now()
	told := began
	add := func(key, value []byte) {
		t.add(len(key), value)
		if t.Items%1024 == 0 {
			if now := time.Now(); now.Sub(told) >= time.Second {
				told = now
				fmt.Fprintf(errOut, "%d items, %.0f a second, %s of values\n", t.Items, float64(t.Items)/now.Sub(began).Seconds(), size(t.ValueBytes))
			}
		}
	}
	if err := o.read(ctx, c, errOut, add); err != nil {
		if ctx.Err() == nil {
			return err
		}
		fmt.Fprintf(errOut, "interrupted after %d items: what follows is about those\n", t.Items)
	}
	e := t.estimate()
	if o.json {
		return json.NewEncoder(out).Encode(e)
	}
	_, err = io.WriteString(out, e.text())
	return err
}

// read calls add for every item of the origin.
func (o *estimateOptions) read(ctx context.Context, c *config.Config, errOut io.Writer, add func(key, value []byte)) error {
	switch o.from {
	case "":
		return usageError{errors.New("--from: write a FILE, - for standard input, sql or memcached")}
	case "sql":
		return o.readSQL(ctx, c, errOut, add)
	case "memcached":
		if o.server == "" {
			return usageError{errors.New("--from=memcached: --server=HOST:PORT says where it is")}
		}
		return readMemcached(ctx, o.server, o.rate, add)
	case "-":
		return readDump(ctx, os.Stdin, "standard input", add)
	}
	f, err := os.Open(o.from)
	if err != nil {
		return usageError{fmt.Errorf("--from: %w; write a FILE, - for standard input, sql or memcached", err)}
	}
	defer f.Close()
	return readDump(ctx, f, o.from, add)
}

// tally counts items. Of values it keeps hashes, and when those are many, of a part of the values only: which part follows from
// the hash alone, so that all copies of a value are in it or none.
type tally struct {
	Items, KeyBytes, ValueBytes int64

	small int64 // values too short to be shared
	ours  int64 // bytes of our records, each with the handle of its value or a short value
	seed  hasher.Seed
	mask  uint64 // only values whose hash has none of these bits are looked at
	most  int
	seen  map[uint64]sighting
	slabs slabs
}

// sighting is a value that was met.
type sighting struct{ size, items uint32 }

// mostValues bounds the memory for hashes, to about 100 MB.
const mostValues = 2 << 20

func newTally() *tally {
	return &tally{seed: hasher.NewSeed(), seen: make(map[uint64]sighting), most: mostValues, slabs: newSlabs()}
}

// Bytes of our store, as store's records and tables have them.
const (
	shortValue = 32  // and less stays with its key
	recordHead = 2   // lengths and bits
	handleSize = 4   // names a shared value
	slotSize   = 6.5 // of an index, at its usual load
	datumHead  = 12 + 8
	spare      = 1.05 // segments are not full, and there are tables
	ownProcess = 20 << 20
)

func aligned(n int64) int64 { return (n + 3) &^ 3 }

func lengthSize(n int64) int64 {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	}
	return 3
}

// add counts an item. It does not keep value.
func (t *tally) add(key int, value []byte) {
	n := int64(len(value))
	t.Items++
	t.KeyBytes += int64(key)
	t.ValueBytes += n
	t.slabs.add(int64(key), n)
	if n <= shortValue {
		t.small++
		t.ours += aligned(recordHead + int64(key) + lengthSize(n) + n)
		return
	}
	t.ours += aligned(recordHead + int64(key) + handleSize)
	_, h := t.seed.Payload(value)
	if h&t.mask != 0 {
		return
	}
	s := t.seen[h]
	s.size, s.items = uint32(n), s.items+1
	t.seen[h] = s
	for len(t.seen) > t.most {
		t.mask = t.mask<<1 | 1
		for h := range t.seen {
			if h&t.mask != 0 {
				delete(t.seen, h)
			}
		}
	}
}

// estimated is the answer of estimate, and its JSON. Sizes are in bytes.
type estimated struct {
	Items         int64 `json:"items"`
	KeyBytes      int64 `json:"key_bytes"`
	ValueBytes    int64 `json:"value_bytes"`
	Short         int64 `json:"values_short"`          // that stay with their keys
	Distinct      int64 `json:"values_distinct"`       // of the others
	DistinctBytes int64 `json:"values_distinct_bytes"` // of those
	Shared        int64 `json:"values_shared"`         // of the distinct ones: that several items have
	Sampled       int   `json:"sampled"`               // one in so many distinct values was looked at
	Ours          int64 `json:"swordfishd_bytes"`      // resident, without connections
	OursItems     int64 `json:"swordfishd_items_bytes"`
	Theirs        int64 `json:"memcached_bytes"`
	TheirsItems   int64 `json:"memcached_items_bytes"`
}

func (t *tally) estimate() estimated {
	e := estimated{Items: t.Items, KeyBytes: t.KeyBytes, ValueBytes: t.ValueBytes, Short: t.small, Sampled: int(t.mask) + 1}
	ours := float64(t.ours) + slotSize*float64(t.Items)
	each := float64(e.Sampled)
	for _, s := range t.seen {
		n := int64(s.size)
		e.Distinct++
		e.DistinctBytes += n
		ours += each * float64(n+lengthSize(n)-handleSize) // its first item has it in its record
		if s.items > 1 {
			e.Shared++
			ours += each * (float64(aligned(n)) + datumHead + slotSize)
		}
	}
	k := int64(e.Sampled)
	e.Distinct, e.DistinctBytes, e.Shared = k*e.Distinct, k*e.DistinctBytes, k*e.Shared
	e.OursItems = int64(ours * spare)
	e.TheirsItems = t.slabs.bytes()
	e.Ours, e.Theirs = e.OursItems+ownProcess, e.TheirsItems+theirProcess
	return e
}

func (e *estimated) text() string {
	var b strings.Builder
	about := ""
	if e.Sampled > 1 {
		about = fmt.Sprintf(" (from one value in %d)", e.Sampled)
	}
	fmt.Fprintf(&b, "items              %d, keys of %s, values of %s\n", e.Items, size(e.KeyBytes), size(e.ValueBytes))
	fmt.Fprintf(&b, "short values       %d of %d bytes and less, which stay with their keys\n", e.Short, shortValue)
	fmt.Fprintf(&b, "distinct values    %d of the other %d, %s%s; %d of them belong to several items\n", e.Distinct, e.Items-e.Short, size(e.DistinctBytes), about, e.Shared)
	fmt.Fprintf(&b, "items in memory    swordfishd %s, memcached %s\n", size(e.OursItems), size(e.TheirsItems))
	fmt.Fprintf(&b, "resident           swordfishd %s, memcached %s: %s, connections not counted\n", size(e.Ours), size(e.Theirs), saving(e.Ours, e.Theirs))
	return b.String()
}

func saving(ours, theirs int64) string {
	switch {
	case theirs == 0 || ours == theirs:
		return "the same"
	case ours < theirs:
		return fmt.Sprintf("%.0f%% less", 100*(1-float64(ours)/float64(theirs)))
	}
	return fmt.Sprintf("%.0f%% more", 100*(float64(ours)/float64(theirs)-1))
}

// slabs is memcached's memory: pages of 1 MiB cut into chunks, by class of size, and a table of pointers.
type slabs struct {
	sizes []int64
	count []int64
	items int64
}

// Sizes of memcached 1.6 with its default options, in bytes.
const (
	theirHead    = 48 + 8 + 1 + 2 // header, CAS, the end of the key and the line end behind the value
	theirPage    = 1 << 20
	theirChunk   = theirPage / 2 // the largest
	theirProcess = 3 << 20
)

func newSlabs() (s slabs) {
	for n := 96.0; n < theirChunk/1.25; n *= 1.25 {
		n = float64((int64(n) + 7) &^ 7)
		s.sizes = append(s.sizes, int64(n))
	}
	s.sizes = append(s.sizes, theirChunk)
	s.count = make([]int64, len(s.sizes))
	return s
}

func (s *slabs) add(key, value int64) {
	s.items++
	n := theirHead + key + value
	for ; n > theirChunk; n -= theirChunk {
		s.count[len(s.count)-1]++
	}
	i := 0
	for s.sizes[i] < n {
		i++
	}
	s.count[i]++
}

func (s *slabs) bytes() (sum int64) {
	for i, n := range s.count {
		in := theirPage / s.sizes[i]
		sum += (n + in - 1) / in * theirPage
	}
	table := int64(1 << 16)
	for s.items > table*3/2 {
		table *= 2
	}
	return sum + 8*table
}
