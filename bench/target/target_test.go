package target

import (
	"testing"

	"golang.org/x/sys/unix"

	"swordfish/internal/testenv"
)

func TestStartMeasureStop(t *testing.T) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	s, err := Start(Spec{Name: "peer", Path: testenv.MemcachedPath(t), Memory: 16, Threads: 1, Conns: 64, CPUs: []int{cpu}})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			s.Stop()
		}
	})
	if s.Version == "" {
		t.Error("no version")
	}
	before, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	stats, err := s.Stats()
	if err != nil || stats["threads"] != "1" || stats["curr_items"] != "0" {
		t.Errorf("stats: %v, %v", stats, err)
	}
	for range 100 {
		if _, err := s.Stats(); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := s.Usage(); err != nil || after.Ran <= before.Ran {
		t.Errorf("CPU %v after 100 questions, %v before, %v", after, before, err)
	}
	if rss, err := s.RSS(); err != nil || rss < 1<<20 || rss > 1<<30 {
		t.Errorf("RSS %d, %v", rss, err)
	}
	s.Stop()
	stopped = true
	if _, err := s.Usage(); err == nil {
		t.Error("usage of a stopped server: no error")
	}
}

func TestStartTellsWhyItFailed(t *testing.T) {
	spec := Spec{Path: testenv.MemcachedPath(t), Memory: 16, Threads: 1, Conns: 64, Args: []string{"--no-such-option"}}
	if s, err := Start(spec); err == nil {
		s.Stop()
		t.Fatal("started with a wrong option")
	}
}
