package normalizer

// opening tells from a key's first bytes that no route can match it, as for most keys of most sites: a look into a map costs more. Each
// text that keys may begin with is dealt one of eight bits; at[i][c] has the bits of those that may have byte c at i.
type opening struct {
	at   [4][256]uint8
	next int
}

// add takes up a text that keys may begin with.
func (o *opening) add(text string) {
	bit := uint8(1) << (o.next % 8)
	o.next++
	for i := range o.at {
		if i < len(text) {
			o.at[i][text[i]] |= bit
			continue
		}
		for c := range o.at[i] {
			o.at[i][c] |= bit
		}
	}
}

// may tells whether key may begin with one of the texts.
func (o *opening) may(key []byte) bool {
	return len(key) < len(o.at) || o.at[0][key[0]]&o.at[1][key[1]]&o.at[2][key[2]]&o.at[3][key[3]] != 0
}
