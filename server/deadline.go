package server

import (
	"time"

	"swordfish/store"
)

// maxRelative is the longest exptime that counts from now, 30 days; a longer one is a moment by the wall clock.
const maxRelative = 60 * 60 * 24 * 30

// deadline translates an exptime to the item clock: 0 never ends, a negative one is over, up to 30 days count from now, and
// what is more is a moment in unix time. Only the last looks at wall, so a step of the wall clock moves no relative
// deadline. The result is NoDeadline for 0 alone.
func deadline(exptime int64, now store.Time, wall time.Time) uint32 {
	after := exptime
	switch {
	case exptime == 0:
		return store.NoDeadline
	case exptime < 0:
		return store.Expired
	case exptime > maxRelative:
		if after -= wall.Unix(); after <= 0 {
			return store.Expired
		}
	}
	return uint32(min(int64(now.Second())+after, int64(store.Expired)-1))
}
