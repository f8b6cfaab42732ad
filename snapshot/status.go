package snapshot

import (
	"fmt"
	"time"

	"swordfish/store"
)

// Lines words a Status for an operator, the save first.
func (st *Status) Lines() []string {
	var all []string
	line := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if st.Path == "" {
		return []string{"off"}
	}
	every := "never"
	if st.Every > 0 {
		every = st.Every.String()
	}
	line("file %s every=%s on_stop=%v load=%v", st.Path, every, st.OnStop, st.Load)
	saved := fmt.Sprintf("items=%d shared_values=%d bytes=%d seconds=%.1f", st.Saved.Items, st.Saved.Payloads, st.Saved.Bytes, st.Took.Seconds())
	switch {
	case st.Saving:
		line("save under way since=%s %s", moment(st.SavedAt), saved)
	case st.SavedAt.IsZero():
		line("save none yet")
	case st.Error != "":
		line("save failed at=%s error=%q", moment(st.SavedAt), st.Error)
	default:
		line("save done at=%s %s", moment(st.SavedAt), saved)
	}
	if st.LoadedAt.IsZero() {
		return all
	}
	state, l := "done", &st.Loaded
	switch {
	case st.Loading:
		state = "under way"
	case st.LoadError != "":
		state = "failed"
	}
	text := fmt.Sprintf("load %s at=%s bytes=%d of=%d seconds=%.1f", state, moment(st.LoadedAt), l.Bytes, l.Size, st.LoadTook.Seconds())
	for r, n := range l.Items {
		if n > 0 {
			text += fmt.Sprintf(" %v=%d", store.LoadResult(r), n)
		}
	}
	if l.Damaged > 0 {
		text += fmt.Sprintf(" damaged_places=%d items_lost=%d", l.Damaged, l.Lost)
	}
	if l.Early != "" {
		text += fmt.Sprintf(" ended_early=%q", l.Early)
	}
	if st.LoadError != "" {
		text += fmt.Sprintf(" error=%q", st.LoadError)
	}
	return append(all, text)
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Part returns which part of the file was loaded, from 0 to 1.
func (l *Loaded) Part() float64 {
	if l.Size == 0 {
		return 0
	}
	return float64(l.Bytes) / float64(l.Size)
}
