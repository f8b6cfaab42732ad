package admin

import (
	"time"

	"swordfish/snapshot"
	"swordfish/store"
)

// Snapshot is the answer of /api/snapshot.
type Snapshot struct {
	Path   string  `json:"path"` // empty: there is none, and nothing else is told
	Every  float64 `json:"every_seconds"`
	OnStop bool    `json:"on_stop"`
	Load   bool    `json:"load"`
	Save   struct {
		State    string  `json:"state"` // none, saving, done, failed
		At       string  `json:"at,omitempty"`
		Took     float64 `json:"seconds"`
		Items    int64   `json:"items"`
		Payloads int64   `json:"shared_values"`
		Bytes    int64   `json:"bytes"`
		Error    string  `json:"error,omitempty"`
		Done     uint64  `json:"done"`
		Failed   uint64  `json:"failed"`
		Last     string  `json:"last_done,omitempty"`
	} `json:"save"`
	Loading struct {
		State   string           `json:"state"` // none, loading, done
		At      string           `json:"at,omitempty"`
		Took    float64          `json:"seconds"`
		Part    float64          `json:"part"` // of the file, 0 to 1
		Bytes   int64            `json:"bytes"`
		Size    int64            `json:"file_bytes"`
		Items   map[string]int64 `json:"items"` // by what became of them
		Damaged int64            `json:"damaged_places"`
		Lost    int64            `json:"items_lost"`
		Early   string           `json:"ended_early,omitempty"`
		Error   string           `json:"error,omitempty"`
	} `json:"loading"`
}

func snapshotView(st snapshot.Status) Snapshot {
	v := Snapshot{Path: st.Path, Every: st.Every.Seconds(), OnStop: st.OnStop, Load: st.Load}
	s := &v.Save
	s.State, s.At, s.Last, s.Took = "none", moment(st.SavedAt), moment(st.Whole), st.Took.Seconds()
	s.Items, s.Payloads, s.Bytes, s.Error, s.Done, s.Failed = st.Saved.Items, st.Saved.Payloads, st.Saved.Bytes, st.Error, st.Saves, st.Failed
	switch {
	case st.Saving:
		s.State = "saving"
	case st.Error != "":
		s.State = "failed"
	case !st.SavedAt.IsZero():
		s.State = "done"
	}
	l, d := &v.Loading, &st.Loaded
	l.State, l.At, l.Took, l.Part, l.Bytes, l.Size = "none", moment(st.LoadedAt), st.LoadTook.Seconds(), d.Part(), d.Bytes, d.Size
	l.Damaged, l.Lost, l.Early, l.Error = d.Damaged, d.Lost, d.Early, st.LoadError
	l.Items = make(map[string]int64, len(d.Items))
	for r, n := range d.Items {
		l.Items[store.LoadResult(r).String()] = n
	}
	switch {
	case st.Loading:
		l.State = "loading"
	case !st.LoadedAt.IsZero():
		l.State = "done"
	}
	return v
}

// moment words a time; the zero one is none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (e *emitter) snapshot(st *snapshot.Status) {
	on := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	e.counter("swordfish_snapshot_saves_total", "Snapshots, by how writing them went.", st.Saves, label{"result", "ok"})
	e.counter("swordfish_snapshot_saves_total", "", st.Failed, label{"result", "failed"})
	e.gauge("swordfish_snapshot_saving", "1 while one is being written.", on(st.Saving))
	e.gauge("swordfish_snapshot_save_seconds", "How long the last one took, or the one under way so far.", st.Took.Seconds())
	e.gauge("swordfish_snapshot_save_bytes", "Its size so far.", float64(st.Saved.Bytes))
	e.gauge("swordfish_snapshot_save_items", "Its items so far.", float64(st.Saved.Items))
	last := 0.0
	if !st.Whole.IsZero() {
		last = float64(st.Whole.UnixMilli()) / 1000
	}
	e.gauge("swordfish_snapshot_last_success_timestamp_seconds", "When the last one that went well began, in unix time; 0: none yet.", last)
	e.gauge("swordfish_snapshot_loading", "1 while one is being loaded.", on(st.Loading))
	e.gauge("swordfish_snapshot_load_seconds", "How long that took, or takes so far.", st.LoadTook.Seconds())
	e.gauge("swordfish_snapshot_load_part", "Which part of the file was read, 0 to 1.", st.Loaded.Part())
	e.counter("swordfish_snapshot_load_damaged_total", "Places of the file that could not be read.", uint64(st.Loaded.Damaged))
	for r, n := range st.Loaded.Items {
		e.counter("swordfish_snapshot_load_items_total", "Items of the file, by what became of them.", uint64(n), label{"result", store.LoadResult(r).String()})
	}
}
