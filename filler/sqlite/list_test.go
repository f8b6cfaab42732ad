package sqlite

import (
	"testing"

	"swordfish/filler/fillertest"
)

func TestListing(t *testing.T) {
	fillertest.Listing(t, memory(t, fillertest.ListSchema))
}
