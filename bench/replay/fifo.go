package replay

// Gate is how a policy of two queues tells what earned its place: S3-FIFO's rules and the store's are two settings of it.
type Gate struct {
	Probation float64 // share of the capacity for new objects
	Least     float64 // objects that probation has room for at least, up to half of the capacity
	Needed    byte    // counted hits that take an object from probation to the main queue
	Wait      float64 // share of the capacity that must have been put in since an object was, before its first hit counts
	Ghosts    float64 // evicted objects that are remembered, as a share of the capacity
	Window    bool    // Ghosts counts the last such evictions, objects that came back included, as a table of prints does
	Earned    bool    // also remember what goes from the main queue after it was hit; it comes back on probation with a hit
	Lasting   bool    // of Ghosts only those go to the main queue that came back sooner than its oldest has been in it
	Spare     int     // objects in a row that may pass their turn in the main queue; 0: any number
}

// S3FIFO is the setting of Yang et al., SOSP 2023.
var S3FIFO = Gate{Probation: 0.1, Needed: 2, Ghosts: 0.9}

// Ours is what the store's policy amounts to, without its segments, shards and prints. See store/policy.go.
var Ours = Gate{Probation: 0.125, Least: 120, Needed: 1, Wait: 0.05, Ghosts: 1.5, Window: true, Earned: true, Lasting: true, Spare: 128}

// gated is a policy of two queues in order of insertion and one of remembered objects.
type gated struct {
	Gate
	capacity        int
	links           links
	probation, main list
	ghosts          list
	at, hits        []byte
	read            []bool
	born            []int // value of puts when the object was put in or moved, or of evictions when it was evicted
	put             []int // value of puts when it was put in
	puts, evictions int
	spared          int
}

// NewGated returns a model of g for ids below objects.
func NewGated(g Gate, objects, capacity int) Model {
	g.Probation = max(g.Probation, min(g.Least/float64(capacity), 0.5))
	m := &gated{
		Gate: g, capacity: capacity, links: newLinks(objects), at: make([]byte, objects), hits: make([]byte, objects),
		read: make([]bool, objects), born: make([]int, objects), put: make([]int, objects),
	}
	m.probation, m.main, m.ghosts = newList(&m.links), newList(&m.links), newList(&m.links)
	return m
}

// hitsMost is where the counter of hits stops.
const hitsMost = 3

func (m *gated) Ask(id uint32) bool {
	if m.at[id] == first || m.at[id] == second {
		m.read[id] = true
		if m.hits[id] > 0 || float64(m.puts-m.born[id]) >= m.Wait*float64(m.capacity) {
			m.hits[id] = min(m.hits[id]+1, hitsMost)
		}
		return true
	}
	was := m.at[id]
	if was != absent {
		m.ghosts.remove(id)
		m.at[id] = absent
	}
	for m.probation.length+m.main.length >= m.capacity {
		m.evict()
	}
	lasts := m.lasts(id)
	m.puts++
	m.put[id], m.born[id], m.hits[id], m.read[id] = m.puts, m.puts, 0, false
	if was == ghost && lasts {
		m.toMain(id)
		return false
	}
	m.at[id] = first
	m.probation.push(id)
	if was == earnedGhost {
		m.hits[id] = 1
	}
	return false
}

// lasts tells whether the main queue keeps objects for as long as this one was away. While it is far from full, nobody knows.
func (m *gated) lasts(id uint32) bool {
	if !m.Lasting || m.main.length == 0 || float64(m.probation.length) > 2*m.Probation*float64(m.capacity) {
		return true
	}
	return m.put[id] >= m.born[m.main.oldest]
}

func (m *gated) toMain(id uint32) {
	m.at[id] = second
	m.born[id] = m.puts
	m.main.push(id)
}

// evict looks at one object: the oldest of the queue that is over its share.
func (m *gated) evict() {
	if m.main.length == 0 || float64(m.probation.length) > m.Probation*float64(m.capacity) {
		id := m.probation.pop()
		if m.hits[id] < m.Needed {
			m.remember(id, ghost)
			return
		}
		m.hits[id] = 0
		m.toMain(id)
		return
	}
	id := m.main.pop()
	if m.hits[id] > 0 && (m.Spare == 0 || m.spared < m.Spare) {
		m.spared++
		m.hits[id]--
		m.toMain(id)
		return
	}
	m.spared = 0
	m.at[id] = absent
	if m.Earned && m.read[id] {
		m.remember(id, earnedGhost)
	}
}

func (m *gated) remember(id uint32, as byte) {
	m.at[id] = as
	m.evictions++
	m.born[id] = m.evictions
	m.ghosts.push(id)
	most := m.Ghosts * float64(m.capacity)
	for float64(m.ghosts.length) > most || m.Window && float64(m.evictions-m.born[m.ghosts.oldest]) >= most {
		m.at[m.ghosts.pop()] = absent
	}
}
