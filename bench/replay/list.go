package replay

// none ends a list.
const none = ^uint32(0)

// links chains objects, each of which is in one list at most, in both directions. They are kept by object number.
type links struct{ newer, older []uint32 }

func newLinks(objects int) links {
	return links{newer: make([]uint32, objects), older: make([]uint32, objects)}
}

// list is a queue of objects over shared links.
type list struct {
	of             *links
	newest, oldest uint32
	length         int
}

func newList(of *links) list { return list{of: of, newest: none, oldest: none} }

// push puts id at the new end.
func (l *list) push(id uint32) {
	l.of.newer[id], l.of.older[id] = none, l.newest
	if l.newest == none {
		l.oldest = id
	} else {
		l.of.newer[l.newest] = id
	}
	l.newest = id
	l.length++
}

// remove takes id out, wherever it stands in this list.
func (l *list) remove(id uint32) {
	newer, older := l.of.newer[id], l.of.older[id]
	if newer == none {
		l.newest = older
	} else {
		l.of.older[newer] = older
	}
	if older == none {
		l.oldest = newer
	} else {
		l.of.newer[older] = newer
	}
	l.length--
}

// pop takes the oldest out. The list must not be empty.
func (l *list) pop() uint32 {
	id := l.oldest
	l.remove(id)
	return id
}
