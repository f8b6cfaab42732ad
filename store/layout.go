package store

import "math/bits"

// The arena, from its first byte:
//
//	header                         magic, layout, sizes, seed, routes
//	segment metas                  one segMeta a segment
//	page map                       a bit a page of the page area
//	key shards                     for each: shardState, lease buckets, prints of evicted keys, index directory
//	data shards                    for each: dataState, index directory, prints of payloads met, handle table
//	segments                       the pool: key logs, data logs and index tables
//	page area                      runs of pages for large values; twice the limit in address space, so that a run is found
//
// Directories, handle tables and the page area are reserved at their largest and touched as they grow; what is touched
// counts against the limit.
const (
	arenaMagic   = 0x6873696664726f77 // "wordfish"
	arenaLayout  = 5
	routeNameMax = 64
)

type header struct {
	magic    uint64
	layout   uint32
	shards   uint32
	structs  uint64
	memory   uint64
	segment  uint64
	capacity uint64
	seed     [16]byte
	nextID   uint32
	_        uint32
	routes   [MaxRoutes + 1]routeRow
	saved    saved
}

// routeRow remembers which route an id in records means.
type routeRow struct {
	keyPrint   uint64
	queryPrint uint64
	nameLen    uint8
	live       uint8
	name       [routeNameMax]byte
	_          [6]byte
}

// segMeta describes one segment of the pool. Its owner's lock guards it; a free one belongs to the pool's.
type segMeta struct {
	start uint64 // key logs: log position of the segment's first byte
	next  uint32 // the owner's list, oldest first, or the pool's free list
	used  uint32 // bytes written
	live  uint32 // bytes of records still reachable
	prev  uint32 // the owner's list
	log   uint32 // key logs: which one
	clock uint32 // key logs: the shard's insertion clock when it was opened
	first uint32 // key logs: the earliest end of a record here, as far as known
	due   uint32 // key logs: second of the next look for what is over
}

const noSegment = ^uint32(0)

const mostShards = 256

// sizes are derived from the options once.
type sizes struct {
	memory, segment   uint64
	capacity          uint64
	shards            int
	shardBits         int
	segments          int
	begun             int // of them, those that an empty store needs for its tables
	spread            int // of them, the first, which are for what may stay nearly empty: see pool.segmentLocked
	segShift          int
	unitShift         int // a location counts units of 1<<unitShift bytes from the first segment
	dirCap            int // entries of one index directory at most
	leaseBuckets      int
	privateMax        int // longest value that may stay in its record
	metBuckets        int
	ghostBuckets      int
	handleCap         int
	reserve           int64
	moves             int64 // bytes kept back for passes
	tableAlign        uint64
	tableClasses      int                  // sizes of tables in use
	tableSize         [tableClasses]uint64 // bytes
	offMeta, offShard uint64
	offPageMap        uint64
	shardBlock        uint64
	offDir            uint64 // of the index directory in its block
	offData           uint64
	dataBlock         uint64
	offDataDir        uint64
	offMet            uint64
	offHandles        uint64
	offSegments       uint64
	offPages          uint64
	pages             int
	total             uint64
	fixed             int64 // bytes of the arena that count from the start
}

func floorPow2(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return 1 << (bits.Len64(n) - 1)
}

// derive computes the sizes for a memory limit that may later grow up to capacity. Shards and segments follow the limit, what
// is only address space follows the capacity.
func derive(memory, capacity uint64, maxItem int) sizes {
	var z sizes
	z.memory, z.capacity = memory, capacity
	z.shards = int(min(max(floorPow2(memory/(4<<20)), 1), mostShards))
	z.shardBits = bits.Len(uint(z.shards)) - 1
	perShard := memory / uint64(z.shards)
	z.segment = min(max(floorPow2(perShard/64), 16<<10), 64<<10)
	z.segShift = bits.Len64(z.segment) - 1
	z.segments = int(capacity / z.segment)
	z.unitShift = max(2, bits.Len64(capacity-1)-32)
	z.tableAlign = uint64(4) << z.unitShift
	for class, groups := range classGroups {
		z.tableSize[class] = alignUp(sizeOf[table]()-uint64(mostGroups-groups)*sizeOf[group](), z.tableAlign)
	}
	perSegment := int(z.segment / z.tableSize[0])
	z.begun = (2*z.shards + perSegment - 1) / perSegment
	z.spread = z.begun + z.shards
	if memory >= hugeLeast { // so that a huge page may begin behind them
		z.spread = int(alignUp(uint64(z.spread)*z.segment, hugePage) / z.segment)
	}
	if z.tableClasses = 1; memory >= 16<<20 { // in less memory a segment for each size is too much
		z.tableClasses = tableClasses
	}
	most := capacity / uint64(z.shards)
	z.dirCap = int(max(floorPow2(most/256)*2, 16))
	z.leaseBuckets = int(min(max(floorPow2(perShard/64/sizeOf[leaseBucket]()), 8), 256))
	z.privateMax = int(z.segment / 16)
	z.metBuckets = int(max(floorPow2(perShard/512/printWays), 4))
	z.ghostBuckets = int(max(perShard/200/printWays, 4))
	z.handleCap = int(min(most/28, 1<<(32-z.shardBits)-1))
	z.moves = min(max(int64(memory/z.segment)/128, 2), 8) * int64(z.segment)
	z.reserve = reserveFor(memory, maxItem)

	z.offMeta = alignUp(sizeOf[header](), pageSize)
	z.pages = int(2 * capacity / pageSize)
	z.offPageMap = alignUp(z.offMeta+uint64(z.segments)*sizeOf[segMeta](), pageSize)
	z.offShard = alignUp(z.offPageMap+uint64(z.pages+63)/64*8, pageSize)
	z.offDir = alignUp(sizeOf[shardState](), 64) + uint64(z.leaseBuckets)*sizeOf[leaseBucket]() +
		uint64(z.ghostBuckets)*sizeOf[printBucket]()
	z.shardBlock = alignUp(z.offDir+uint64(z.dirCap)*4, pageSize)
	z.offData = z.offShard + uint64(z.shards)*z.shardBlock
	z.offDataDir = alignUp(sizeOf[dataState](), 64) // small at first: in one page with the state
	z.offMet = alignUp(z.offDataDir+uint64(z.dirCap)*4, 64)
	z.offHandles = z.offMet + uint64(z.metBuckets)*sizeOf[printBucket]()
	z.dataBlock = alignUp(z.offHandles+uint64(z.handleCap)*8, pageSize)
	z.offSegments = alignUp(z.offData+uint64(z.shards)*z.dataBlock, 2<<20)
	z.offPages = alignUp(z.offSegments+uint64(z.segments)*z.segment, 2<<20)
	z.total = z.offPages + uint64(z.pages)*pageSize

	// Directories and handle tables are charged as they grow. Lease tables and prints count whole, from the start.
	perKeyShard := sizeOf[shardState]() + uint64(z.leaseBuckets)*sizeOf[leaseBucket]() + uint64(z.ghostBuckets)*sizeOf[printBucket]()
	z.fixed = int64(z.offMeta + memory/z.segment*sizeOf[segMeta]() + uint64(z.shards)*(perKeyShard+sizeOf[dataState]()+uint64(z.metBuckets)*sizeOf[printBucket]()) + memory/pageSize/4)
	return z
}

// reserveFor is what is kept free, so that an insert seldom has to evict for itself.
func reserveFor(memory uint64, maxItem int) int64 {
	return min(max(int64(memory/50), 2*int64(maxItem)), int64(memory/8))
}
