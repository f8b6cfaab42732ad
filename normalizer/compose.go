package normalizer

// Compose appends a key of that route with these parts, in the pattern's order, as a client could spell it; parts that are not
// Present are left out. It checks nothing: only Append tells whether it is a key of the route. An unknown id appends nothing.
func (t *Table) Compose(dst []byte, id uint16, parts []Part) []byte {
	r := t.route(id)
	if r == nil || len(parts) != len(r.order) {
		return dst
	}
	var bySlot [MaxParts]*Part
	for i, slot := range r.order {
		bySlot[slot] = &parts[i]
	}
	dst = append(dst, r.literal...)
	named := 0 // first slot that is not by position
	for i := range r.fixed {
		f := &r.fixed[i]
		if f.text != "" {
			dst = append(append(dst, r.sep), f.text...)
			continue
		}
		dst = r.composePart(dst, bySlot[f.slot], f.slot)
		named = f.slot + 1
	}
	for i := named; i < len(r.slots); i++ {
		dst = r.composePart(dst, bySlot[i], i)
	}
	return dst
}

func (r *route) composePart(dst []byte, p *Part, slot int) []byte {
	if !p.Present {
		return dst
	}
	return append(append(dst, r.slots[slot].lead...), p.Value...)
}
