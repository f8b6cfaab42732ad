package replay

// Model is an eviction policy over objects of equal size, of which it holds as many as it was made for. A model is for one
// goroutine.
type Model interface {
	// Ask is a read of object id: true when it was held. One that was not is put in.
	Ask(id uint32) bool
}

// Misses asks m for all ids in their order and counts those not held.
func Misses(m Model, ids []uint32) int {
	misses := 0
	for _, id := range ids {
		if !m.Ask(id) {
			misses++
		}
	}
	return misses
}

// Where an object of a model stands.
const (
	absent = iota
	first  // the list that new objects enter
	second
	third
	ghost       // not held, but remembered
	earnedGhost // likewise, from a better list
)

// lru evicts what was asked for longest ago.
type lru struct {
	capacity int
	links    links
	all      list
	at       []byte
}

// NewLRU returns a model of plain least-recently-used for ids below objects.
func NewLRU(objects, capacity int) Model {
	m := &lru{capacity: capacity, links: newLinks(objects), at: make([]byte, objects)}
	m.all = newList(&m.links)
	return m
}

func (m *lru) Ask(id uint32) bool {
	if m.at[id] == first {
		m.all.remove(id)
		m.all.push(id)
		return true
	}
	if m.all.length == m.capacity {
		m.at[m.all.pop()] = absent
	}
	m.at[id] = first
	m.all.push(id)
	return false
}

// segmented is memcached 1.6's default policy: new items are HOT, a second hit makes an item active, an active tail of HOT
// or WARM goes to WARM's head, any other tail of an overfull one to COLD's, a hit that makes a COLD item active moves it to
// WARM at once, and eviction takes COLD's tail. Its maintenance thread is taken to be always done before the next request,
// and the limits by age (in seconds, without meaning in a replay) are left out.
type segmented struct {
	capacity        int
	links           links
	hot, warm, cold list
	at              []byte
	state           []byte
}

const (
	fetched = 1
	active  = 2
)

// Shares of the capacity that may be HOT and WARM, in percent; memcached's hot_lru_pct and warm_lru_pct.
const (
	hotPercent  = 20
	warmPercent = 40
)

// NewSegmented returns a model of memcached's segmented LRU for ids below objects.
func NewSegmented(objects, capacity int) Model {
	m := &segmented{capacity: capacity, links: newLinks(objects), at: make([]byte, objects), state: make([]byte, objects)}
	m.hot, m.warm, m.cold = newList(&m.links), newList(&m.links), newList(&m.links)
	return m
}

func (m *segmented) Ask(id uint32) bool {
	if m.at[id] != absent {
		m.hit(id)
		return true
	}
	if m.held() == m.capacity {
		m.evict()
	}
	m.at[id], m.state[id] = first, 0
	m.hot.push(id)
	m.juggle()
	return false
}

func (m *segmented) held() int { return m.hot.length + m.warm.length + m.cold.length }

func (m *segmented) hit(id uint32) {
	switch s := m.state[id]; {
	case s&active != 0:
	case s&fetched == 0:
		m.state[id] |= fetched
	case m.at[id] == third:
		m.cold.remove(id)
		m.toWarm(id)
		m.juggle()
	default:
		m.state[id] |= active
		m.juggle()
	}
}

func (m *segmented) toWarm(id uint32) {
	m.state[id] &^= active
	m.at[id] = second
	m.warm.push(id)
}

func (m *segmented) toCold(id uint32) {
	m.at[id] = third
	m.cold.push(id)
}

// evict takes COLD's tail; without one, a tail of HOT or WARM goes there first, as when memcached's writers pull for
// themselves.
func (m *segmented) evict() {
	for m.cold.length == 0 {
		from := &m.hot
		if from.length == 0 {
			from = &m.warm
		}
		if id := from.pop(); m.state[id]&active != 0 {
			m.toWarm(id)
		} else {
			m.toCold(id)
		}
	}
	m.at[m.cold.pop()] = absent
}

// juggle is the maintenance: it goes on until no tail is due.
func (m *segmented) juggle() {
	for m.pull(&m.hot, hotPercent) || m.pull(&m.warm, warmPercent) {
	}
}

// pull moves the tail of HOT or WARM on if it is due.
func (m *segmented) pull(from *list, percent int) bool {
	switch {
	case from.length == 0:
		return false
	case m.state[from.oldest]&active != 0:
		m.toWarm(from.pop())
	case from.length*100 > m.held()*percent:
		m.toCold(from.pop())
	default:
		return false
	}
	return true
}
