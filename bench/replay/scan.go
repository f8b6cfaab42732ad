package replay

import "math/rand/v2"

// Scan is a working set that is asked for again and again, evenly at random, while keys that are asked for once pass by.
type Scan struct {
	Capacity int     // objects that the cache holds
	Working  float64 // size of the working set, as a share of Capacity
	Length   float64 // size of the scan, likewise
	Rate     int     // scan's requests for each of the working set; 0: the scan comes at once, without any in between
	Seed     uint64
}

// background is the share of requests for keys asked for once beside the scan, as any site has them. Without them nothing
// would ever be evicted before.
const background = 0.1

// ScanResult counts the working set's requests and hits before the scan, while it passes, and afterwards until each object
// has been asked for about once.
type ScanResult struct{ Before, During, After Hits }

// Hits are counted over some requests.
type Hits struct{ Asked, Hit int }

// Ratio is the share of hits, 1 where nothing was asked for.
func (h Hits) Ratio() float64 {
	if h.Asked == 0 {
		return 1
	}
	return float64(h.Hit) / float64(h.Asked)
}

// Lost is the share of the hits before that are missing while the scan passes and afterwards, the misses of a scan at once
// all counted afterwards.
func (r ScanResult) Lost() float64 {
	return 1 - Hits{r.During.Asked + r.After.Asked, r.During.Hit + r.After.Hit}.Ratio()/r.Before.Ratio()
}

// Objects bounds the ids that Run asks for.
func (s Scan) Objects() int {
	working := s.working()
	once := int(background*float64((warmRounds+4)*working)*2) + 1000
	return working + once + int(s.Length*float64(s.Capacity)) + int(2*background*s.Length*float64(s.Capacity))
}

func (s Scan) working() int { return int(s.Working * float64(s.Capacity)) }

// warmRounds is how often each object of the working set is asked for, on average, before anything counts.
const warmRounds = 10

// Run asks m.
func (s Scan) Run(m Model) ScanResult {
	rng := rand.New(rand.NewPCG(s.Seed, 1))
	working := s.working()
	once := uint32(working)
	strange := func() {
		m.Ask(once)
		once++
	}
	ask := func(h *Hits) {
		h.Asked++
		if m.Ask(uint32(rng.IntN(working))) {
			h.Hit++
		}
		if rng.Float64() < background/(1-background) {
			strange()
		}
	}
	var r ScanResult
	for range warmRounds * working {
		ask(new(Hits))
	}
	for range 2 * working {
		ask(&r.Before)
	}
	for i := range int(s.Length * float64(s.Capacity)) {
		strange()
		if s.Rate > 0 && (i+1)%s.Rate == 0 {
			ask(&r.During)
		}
	}
	for range working {
		ask(&r.After)
	}
	return r
}
