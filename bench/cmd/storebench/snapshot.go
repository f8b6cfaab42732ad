package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"swordfish/snapshot"
)

// snapshots writes a snapshot gently, as the schedule does, and in haste, as a stop does, beside gets, and loads it into another
// store, beside gets as well. Half of the keys have a value of their own, half share one of a thousand.
func snapshots(keys int) {
	fmt.Printf("\n## Snapshot: %d keys of 40 bytes, half with values of 100 bytes of their own, half with one of %d\n", keys, keys/1000)
	dir, err := os.MkdirTemp("", "storebench")
	if err != nil {
		fail(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "snapshot")
	content := func(i int) (int, int) {
		if i%2 == 0 {
			return i, 100
		}
		return i * 7919 % (keys / 1000), 100
	}
	megabytes := megabytesFor(keys, 170)
	b := open(megabytes, "")
	b.load(0, keys, content, nil)
	fmt.Print(getHead)
	getRow("quiet", b.quiet(keys))
	row := ""
	for _, how := range []string{"gently", "in haste"} {
		var done snapshot.Written
		began := time.Now()
		l := b.during(keys, func() {
			if done, err = snapshot.Write(context.Background(), b.Store, path, how == "gently"); err != nil {
				fail(err)
			}
		})
		took := time.Since(began)
		getRow("while it is written "+how, l)
		row += fmt.Sprintf("| %s | %v | %d | %d | %.1f | %.2f |\n", how, took.Round(time.Millisecond), done.Items, done.Payloads,
			float64(done.Bytes)/(1<<20), float64(done.Items)/took.Seconds()/1e6)
	}
	b.holds()
	used := b.Stats().UsedBytes
	b.Close()
	b = open(megabytes, "")
	defer b.Close()
	for _, how := range []string{"loaded, nobody asks", "loaded beside gets"} {
		b.FlushAll(b.Now(), 0)
		l := snapshot.Begin(b.Store)
		began := time.Now()
		var done snapshot.Loaded
		run := func() {
			if done, err = l.Run(context.Background(), path); err != nil {
				fail(err)
			}
		}
		if how == "loaded beside gets" {
			during := b.during(keys, run)
			fmt.Print(getHead)
			getRow("while it is loaded", during)
		} else {
			run()
		}
		took := time.Since(began)
		l.End()
		if done.Items[0] != int64(keys) || !done.Whole {
			fail(fmt.Errorf("loaded: %+v", done))
		}
		row += fmt.Sprintf("| %s | %v | %d | | %.1f | %.2f |\n", how, took.Round(time.Millisecond), done.Items[0], float64(done.Bytes)/(1<<20), float64(done.Items[0])/took.Seconds()/1e6)
	}
	fmt.Print("\n| | took | items | shared values | MiB | million keys a second |\n|---|---|---|---|---|---|\n", row)
	fmt.Printf("\n%d MiB were in use before, %d MiB are after the load.\n", used>>20, b.Stats().UsedBytes>>20)
	b.verify(keys, content)
}

// verify wants every key to have its value.
func (b *bed) verify(keys int, content func(i int) (int, int)) {
	var k, v []byte
	for i := range keys {
		k = key(k, i)
		c, size := content(i)
		v = value(v, c, size)
		if got, ok := b.get(k); !ok || string(got) != string(v) {
			fail(fmt.Errorf("key %d is not what it was", i))
		}
	}
	fmt.Printf("\nEvery one of %d items was equal.\n", keys)
}
