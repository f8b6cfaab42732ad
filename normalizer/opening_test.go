package normalizer

import (
	"fmt"
	"testing"
)

// A key that begins with one of the texts may always be one; one that begins otherwise is told apart while there are no more than eight.
func TestOpening(t *testing.T) {
	var o opening
	texts := []string{"chr", "c", "user", "sess", "wp_cache", "x:", "page"}
	for _, text := range texts {
		if o.may([]byte(text + "|long=1")) {
			t.Errorf("%s before it was added", text)
		}
		o.add(text)
	}
	for _, text := range texts {
		for _, key := range []string{text, text + "|", text + ":a=1|b=2"} {
			if !o.may([]byte(key)) {
				t.Errorf("%q is refused", key)
			}
		}
	}
	for _, key := range []string{"usher=1", "paper", "key:1", "wx_cache", "xy:1", "\xff\x00\x00\x00"} {
		if o.may([]byte(key)) {
			t.Errorf("%q is let pass", key)
		}
	}
	for i := range 40 {
		o.add(fmt.Sprint("route", i))
	}
	for i := range 40 {
		if key := fmt.Sprintf("route%d|a=1", i); !o.may([]byte(key)) {
			t.Errorf("%q is refused", key)
		}
	}
}
