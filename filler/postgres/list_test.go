package postgres

import (
	"errors"
	"runtime"
	"strconv"
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
	"swordfish/testdata"
)

func TestListing(t *testing.T) {
	for name, tt := range map[string]struct {
		mode Mode
		hold time.Duration
	}{"prepared": {Prepared, listHold}, "unnamed": {Unnamed, listHold}, "anew after each page": {Prepared, 0}} {
		t.Run(name, func(t *testing.T) {
			pg := testenv.Postgres(t)
			pg.Exec(fillertest.ListSchema)
			src := source(t, Options{DSNs: []string{pg.DSN}, Mode: tt.mode})
			src.listHold = tt.hold
			fillertest.Listing(t, src)
		})
	}
}

// TestListPagesTheDemosKeys: the keys are those of two tables, and each comes once.
func TestListPagesTheDemosKeys(t *testing.T) {
	pg := testenv.Postgres(t)
	demo(t, pg)
	r := demoRoute()
	r.Name, r.Keys = "r", testdata.KeysQuery
	rows := fillertest.Keys(t, source(t, Options{DSNs: []string{pg.DSN}}), &r, 200_000)
	seen := make(map[string]bool, len(rows))
	for _, row := range rows {
		seen[row] = true
	}
	if want := len(testdata.Countries()) * len(testdata.Devices()); len(rows) != want || len(seen) != want {
		t.Errorf("%d rows, %d different ones, want %d", len(rows), len(seen), want)
	}
}

// TestListHasATimeoutOfItsOwn: enumerating may take longer than a load may, and leaves the session's limit as it was.
func TestListHasATimeoutOfItsOwn(t *testing.T) {
	pg := testenv.Postgres(t)
	src := source(t, Options{DSNs: []string{pg.DSN}, StatementTimeout: 50 * time.Millisecond, MaxConns: 1})
	r := fillertest.ListRoute("SELECT 'a' AS os, 1 AS id FROM pg_sleep(0.2)")
	if got := fillertest.Keys(t, src, r, 10); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	err := src.with(t.Context(), "", func(c *conn) error {
		res := c.pg.ExecParams(t.Context(), "SHOW statement_timeout", nil, nil, nil, nil).Read()
		if res.Err == nil && string(res.Rows[0][0]) != "50ms" {
			t.Errorf("the session has %s afterwards", res.Rows[0][0])
		}
		return res.Err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestListEndsWithItsTaker: when the one that takes the rows has enough, or panics in the middle of a page, nothing stays open: the
// only connection is free, in no transaction, and one that was in the middle of something is closed.
func TestListEndsWithItsTaker(t *testing.T) {
	enough := errors.New("enough")
	for name, tt := range map[string]struct {
		end   func() error
		close bool
	}{
		"enough":   {func() error { return enough }, false},
		"a panic":  {func() error { panic("taker") }, true},
		"a Goexit": {func() error { runtime.Goexit(); return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			pg := testenv.Postgres(t)
			pg.Exec(fillertest.ListSchema)
			src := source(t, Options{DSNs: []string{pg.DSN}, MaxConns: 1})
			r := fillertest.ListRoute(fillertest.ListQuery)
			if tt.close {
				r = fillertest.ListRoute("SELECT 'os' AS os, id FROM generate_series(1, 1000000) id") // more than fits into buffers
			}
			pid := func() (pid string) {
				t.Helper()
				err := src.with(t.Context(), "r", func(c *conn) error {
					res := c.pg.ExecParams(t.Context(), "SELECT pg_backend_pid()", nil, nil, nil, nil).Read()
					if res.Err == nil {
						pid = string(res.Rows[0][0])
					}
					return res.Err
				})
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
			before := pid()
			ended, err := make(chan struct{}), error(nil)
			go func() {
				defer close(ended)
				defer func() { _ = recover() }()
				p := filler.Pages{Most: func() (int, error) { return 500_000, nil }, Row: func([]filler.Part) {}}
				if tt.close {
					p.Row = func([]filler.Part) { _ = tt.end() }
				} else {
					p.End = func(filler.Cursor) error { return tt.end() }
				}
				err = src.List(t.Context(), r, nil, p)
			}()
			<-ended
			if !tt.close && !errors.Is(err, enough) {
				t.Errorf("got %v", err)
			}
			if same := pid() == before; same == tt.close {
				t.Errorf("the connection is the same: %v", same)
			}
			src.byes.Wait()
			left := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'swordfishd%' AND (state = 'idle in transaction' OR pid = " +
				before + " AND " + strconv.FormatBool(tt.close) + ")"
			for deadline := time.Now().Add(20 * time.Second); one(t, pg.DSN, left) != "0"; { // the server hears of it a moment later
				if time.Now().After(deadline) {
					t.Fatal("a session is left")
				}
			}
		})
	}
}
