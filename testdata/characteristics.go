package testdata

import (
	"strings"
	"sync"
)

// Characteristic is what an ad server wants to know of a request, and the payload it gets. It depends on four parts of the
// key only, so that many keys share a payload.
type Characteristic struct {
	Country, OS, Browser, Category string
	Payload                        string // a JSON object, ASCII, in the text form that PostgreSQL prints for jsonb
}

// CharacteristicCount is the number of characteristics: 252 countries by 23 kinds of browser.
const CharacteristicCount = 5796

var characteristics = sync.OnceValue(func() []Characteristic {
	type kind struct{ os, browser, category string }
	var kinds []kind
	seen := make(map[kind]bool)
	for _, d := range Devices() {
		k := kind{d.OS, d.Browser, d.Category}
		if !seen[k] {
			seen[k] = true
			kinds = append(kinds, k)
		}
	}
	cs := make([]Characteristic, 0, len(kinds)*len(Countries()))
	for _, c := range Countries() {
		for _, k := range kinds {
			cs = append(cs, Characteristic{
				Country: c.Code, OS: k.os, Browser: k.browser, Category: k.category,
				Payload: payload(c, k.os, k.category),
			})
		}
	}
	return cs
})

// Characteristics returns all of them, by country and then by the first device of their kind. The slice is shared: do not
// change it.
func Characteristics() []Characteristic { return characteristics() }

// payload makes the JSON object. jsonb orders keys by length and then by byte, and writes a space after colon and comma;
// so does this, and what comes back from any database is the same bytes.
func payload(c Country, os, category string) string {
	size := "large"
	formats := `["728x90", "970x250", "300x600", "video"]`
	switch {
	case category == "tablet":
		size, formats = "medium", `["728x90", "300x250", "video"]`
	case category == "mobile" && os == "ios":
		size, formats = "small", `["320x50", "300x250", "hls"]`
	case category == "mobile":
		size, formats = "small", `["320x50", "300x250", "webm"]`
	}
	currency := "USD"
	if len(c.Currencies) > 0 {
		currency = c.Currencies[0]
	}
	languages := c.Languages
	if len(languages) == 0 {
		languages = []string{"en"}
	}
	if len(languages) > 2 {
		languages = languages[:2]
	}
	return `{"size": "` + size + `", "formats": ` + formats + `, "currency": "` + currency +
		`", "languages": ["` + strings.Join(languages, `", "`) + `"]}`
}
