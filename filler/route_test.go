package filler

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// typed is a source with parameter types.
type typed struct {
	*fake
	params Params
	slow   time.Duration
	note   func(*Batch) // nil: none
}

func (s *typed) Params(ctx context.Context, _ *Route) (Params, error) {
	time.Sleep(s.slow)
	return s.params, ctx.Err()
}

func (s *typed) Load(ctx context.Context, b *Batch) error {
	if s.note != nil {
		s.note(b)
	}
	return s.fake.Load(ctx, b)
}

func TestBadPartsAreNeverAsked(t *testing.T) {
	split := func(dst []Part, key []byte) []Part { // int:text, - is absent
		for v := range strings.SplitSeq(string(key), ":") {
			dst = append(dst, Part{[]byte(v), v != "-"})
		}
		return dst
	}
	tests := map[string]struct {
		types []ParamType
		key   string
		bad   bool
	}{
		"int16":        {[]ParamType{ParamInt16, ParamText}, "32767:a", false},
		"int16 over":   {[]ParamType{ParamInt16, ParamText}, "32768:a", true},
		"int32":        {[]ParamType{ParamInt32, ParamText}, "-2147483648:a", false},
		"int32 under":  {[]ParamType{ParamInt32, ParamText}, "-2147483649:a", true},
		"int64 over":   {[]ParamType{ParamInt64, ParamText}, "9223372036854775808:a", true},
		"not a number": {[]ParamType{ParamInt64, ParamText}, "x:a", true},
		"absent int":   {[]ParamType{ParamInt64, ParamText}, "-:a", false},
		"not UTF-8":    {[]ParamType{ParamInt64, ParamText}, "1:\xff", true},
		"NUL":          {[]ParamType{ParamInt64, ParamText}, "1:a\x00", true},
		"unused":       {[]ParamType{ParamUnused, ParamUnused}, "99999999999999999999:\xff", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake("1:warm")
				r := newRig(t, src, func(o *Options) {
					o.Sources[0].Source = &typed{fake: src, params: Params{Parts: tt.types}}
					o.Routes[0].Parts = []PartSpec{{Name: "n", Int: true}, {Name: "s"}}
					o.Routes[0].Split = split
				})
				for range 2 { // types unknown first, checked in the load; then known, checked before the queue
					r.get(tt.key)
					synctest.Wait()
					r.get("1:warm")
					synctest.Wait()
				}
				asked := src.asked[tt.key] > 0
				if asked == tt.bad {
					t.Errorf("asked %v, want %v", asked, !tt.bad)
				}
				if got := r.stats().BadPart; (got > 0) != tt.bad {
					t.Errorf("bad_part %d", got)
				}
				if r.shelf.absent[tt.key] != 2 {
					t.Errorf("absent %d times, want 2", r.shelf.absent[tt.key])
				}
				r.close()
			})
		})
	}
}

func TestNewRefusesMistakes(t *testing.T) {
	good := func() Options {
		return Options{
			Hooks:   newShelf(t).hooks(),
			Sources: []SourceSpec{{Name: "main", Source: newFake()}},
			Routes:  []Route{{ID: 1, Name: "one", Sources: []string{"main"}}},
		}
	}
	tests := map[string]struct {
		change func(*Options)
		want   string
	}{
		"no id":          {func(o *Options) { o.Routes[0].ID = 0 }, `route "one": id 0`},
		"same id":        {func(o *Options) { o.Routes = append(o.Routes, o.Routes[0]) }, `has the id 1 of route "one"`},
		"no source":      {func(o *Options) { o.Routes[0].Sources = nil }, `it names no source`},
		"unknown source": {func(o *Options) { o.Routes[0].Sources = []string{"mian"} }, `no source "mian"`},
		"raw list":       {func(o *Options) { o.Routes[0].Rows = RowsList }, "raw has no lists"},
		"no split":       {func(o *Options) { o.Routes[0].Parts = []PartSpec{{Name: "a"}} }, "no function that splits"},
		"ring size":      {func(o *Options) { o.RingSize = 100 }, "power of two"},
		"same source":    {func(o *Options) { o.Sources = append(o.Sources, o.Sources[0]) }, `source "main"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := good()
			tt.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestColumnsOf(t *testing.T) {
	tests := map[string]struct {
		enc   Encoding
		names []string
		ord   int
		err   string
	}{
		"value last":  {EncodeRaw, []string{"ord", "value"}, 0, ""},
		"ord last":    {EncodeRaw, []string{"payload", "ord"}, 1, ""},
		"several php": {EncodePHP, []string{"a", "ord", "b"}, 1, ""},
		"several raw": {EncodeRaw, []string{"a", "ord", "b"}, 0, "raw takes one"},
		"no ord":      {EncodeRaw, []string{"key", "value"}, 0, "no column named ord"},
		"two ord":     {EncodePHP, []string{"ord", "ord", "value"}, 0, "two columns named ord"},
		"only ord":    {EncodeRaw, []string{"ord"}, 0, "no column beside ord"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &Route{Name: "r", Encode: tt.enc}
			ord, err := r.ColumnsOf(tt.names)
			if tt.err == "" && (err != nil || ord != tt.ord) {
				t.Errorf("got %d, %v, want %d", ord, err, tt.ord)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q in it", err, tt.err)
			}
		})
	}
}
