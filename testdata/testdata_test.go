package testdata

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestRowCounts(t *testing.T) {
	if got, want := len(Devices()), 1842; got != want {
		t.Errorf("devices: got %d, want %d", got, want)
	}
	if got, want := len(Countries()), 252; got != want {
		t.Errorf("countries: got %d, want %d", got, want)
	}
	if got, want := len(Characteristics()), CharacteristicCount; got != want {
		t.Errorf("characteristics: got %d, want %d", got, want)
	}
	for i, d := range Devices() {
		if d.ID != i+1 {
			t.Fatalf("device %d has id %d", i, d.ID)
		}
	}
}

func TestCharacteristicsShareFewPayloads(t *testing.T) {
	distinct := make(map[string]bool)
	keys := make(map[[4]string]bool)
	for _, c := range Characteristics() {
		if !json.Valid([]byte(c.Payload)) {
			t.Fatalf("payload is not JSON: %s", c.Payload)
		}
		distinct[c.Payload] = true
		keys[[4]string{c.Country, c.OS, c.Browser, c.Category}] = true
	}
	if len(keys) != CharacteristicCount {
		t.Errorf("got %d distinct keys, want %d", len(keys), CharacteristicCount)
	}
	if len(distinct) < 300 || len(distinct) > 999 {
		t.Errorf("got %d distinct payloads, want some hundreds", len(distinct))
	}
}

func TestKeys(t *testing.T) {
	d := &Devices()[0]
	want := "chr|country=IN|dev=1|os=ios|browser=safari|cat=mobile|w=414|h=896"
	if got := string(AppendKey(nil, "IN", d)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	r := rand.New(rand.NewPCG(1, 2))
	differs := false
	for range 20 {
		got := string(AppendShuffledKey(nil, r, "IN", d))
		differs = differs || got != want
		if len(got) != len(want) || !strings.HasPrefix(got, "chr|") {
			t.Fatalf("got %s, want the parts of %s in another order", got, want)
		}
		for _, part := range strings.Split(want, "|") {
			if !strings.Contains(got+"|", part+"|") {
				t.Fatalf("%s lacks %s", got, part)
			}
		}
	}
	if !differs {
		t.Error("twenty shuffles left the order as it was")
	}
}

func TestDrawDeviceFollowsWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	counts := make([]int, len(Devices()))
	for range 200_000 {
		counts[DrawDevice(r).ID-1]++
	}
	total := cumulative()[len(counts)-1]
	for _, i := range []int{0, 100, 1000} {
		want := 200_000 * Devices()[i].Weight / total
		if got := float64(counts[i]); got < want*0.7 || got > want*1.3 {
			t.Errorf("device %d drawn %.0f times, want about %.0f", i+1, got, want)
		}
	}
}

func TestPostgresScriptHasEveryRow(t *testing.T) {
	var b bytes.Buffer
	if err := WritePostgresScript(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(b.String(), "\n")
	if want := 1842 + 252 + CharacteristicCount; lines < want || lines > want+30 {
		t.Errorf("got %d lines, want about %d", lines, want)
	}
}
