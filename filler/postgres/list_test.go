package postgres

import (
	"testing"
	"time"

	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
	"swordfish/testdata"
)

func TestListing(t *testing.T) {
	for name, mode := range map[string]Mode{"prepared": Prepared, "unnamed": Unnamed} {
		t.Run(name, func(t *testing.T) {
			pg := testenv.Postgres(t)
			pg.Exec(fillertest.ListSchema)
			fillertest.Listing(t, source(t, Options{DSNs: []string{pg.DSN}, Mode: mode}))
		})
	}
}

// TestListPagesTheDemosKeys: the keys are those of two tables, and each comes once.
func TestListPagesTheDemosKeys(t *testing.T) {
	pg := testenv.Postgres(t)
	demo(t, pg)
	r := demoRoute()
	r.Name, r.Keys = "r", testdata.KeysQuery
	rows := fillertest.Keys(t, source(t, Options{DSNs: []string{pg.DSN}}), &r, 50_000)
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
