package replay

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"swordfish/hasher"
	"swordfish/store"
)

// Equal is the product's store, driven in this process with objects of equal size. Keys have 200 bytes, so that a few hundred
// objects with values of at most 1,000 bytes fill the smallest store. No two values are alike, not even those put under one
// key one after the other: each stays in its record, and nothing is shared.
type Equal struct {
	Memory int64 // the store's limit in bytes, at least MemoryLeast
	Value  int   // bytes of every value, 8 to ValueMost
	Seed   uint64
}

// ValueMost is the longest value that the smallest store keeps in its key's record.
const ValueMost = 1000

const equalKey = 200

// MemoryLeast is the limit of the smallest store.
const MemoryLeast = 1 << 20

// Product is a store that answers as a Model does. Close it after use.
type Product struct {
	seed  hasher.Seed
	store *store.Store
	now   store.Time
	key   []byte
	value []byte
	puts  uint32
	err   error
}

// Open opens an empty store.
func (e Equal) Open() (*Product, error) {
	if e.Value < 8 || e.Value > ValueMost {
		return nil, fmt.Errorf("replay: values of %d bytes: want 8 to %d", e.Value, ValueMost)
	}
	p := &Product{key: bytes.Repeat([]byte("0"), equalKey), value: make([]byte, e.Value)}
	binary.LittleEndian.PutUint64(p.seed[:], e.Seed)
	var err error
	p.store, err = store.Open(store.Options{Memory: e.Memory, Seed: p.seed, KeyHash: p.seed.Key, Digest: p.seed.Payload})
	if err != nil {
		return nil, err
	}
	p.now = p.store.Now()
	return p, nil
}

// Ask is a read of object id, put in where it was not held. After a false answer of the store Err tells which.
func (p *Product) Ask(id uint32) bool {
	binary.BigEndian.PutUint32(p.key, id)
	hash := p.seed.Key(p.key)
	q := store.Lookup{Key: p.key, Hash: hash, Now: p.now}
	var item store.Item
	if p.store.Get(&q, &item) {
		if got := binary.BigEndian.Uint32(item.Value); got != id || len(item.Value) != len(p.value) {
			p.fail(fmt.Errorf("replay: object %d: the store answered object %d with %d bytes", id, got, len(item.Value)))
		}
		item.Release()
		return true
	}
	p.puts++
	binary.BigEndian.PutUint32(p.value, id)
	binary.BigEndian.PutUint32(p.value[4:], p.puts)
	w := store.Write{Key: p.key, Hash: hash, Now: p.now, Value: p.value}
	if status, _ := p.store.Write(&w); status != store.Stored {
		p.fail(fmt.Errorf("replay: object %d: the store's answer to the set is status %d", id, status))
	}
	return false
}

func (p *Product) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Err is the first wrong answer.
func (p *Product) Err() error { return p.err }

// Stats are the store's. The item clock goes on only here.
func (p *Product) Stats() store.Stats {
	p.now = p.store.Now()
	return p.store.Stats()
}

// Shards is how many key shards the store has.
func (p *Product) Shards() int { return p.store.Settings().Shards }

// Close ends the store.
func (p *Product) Close() error { return p.store.Close() }
