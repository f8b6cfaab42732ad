package protocol

import "encoding/binary"

// Sizes of UDP datagrams, as memcached has them. Each begins with a header of four 16-bit numbers: the request's id, which
// its replies repeat, the datagram's place in the message, the number of datagrams of the message, and 0.
const (
	FrameHeader = 8
	FrameData   = 1392  // bytes of a message that one datagram carries
	MaxFrames   = 65535 // datagrams of a message
)

// ReadFrame returns the id and the commands of a request, which alias datagram. Not ok are a datagram without a command and
// one of a message of several: requests have one.
func ReadFrame(datagram []byte) (id uint16, commands []byte, ok bool) {
	if len(datagram) <= FrameHeader {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(datagram), datagram[FrameHeader:], binary.BigEndian.Uint16(datagram[4:]) == 1
}

// Frames is the number of datagrams that a message of n bytes takes, n being over 0.
func Frames(n int) int { return (n + FrameData - 1) / FrameData }

// AppendFrame appends datagram seq of a message, the first being 0. Frames(len(message)) is at most MaxFrames.
func AppendFrame(dst []byte, id uint16, seq int, message []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = binary.BigEndian.AppendUint16(dst, uint16(seq))
	dst = binary.BigEndian.AppendUint16(dst, uint16(Frames(len(message))))
	dst = append(dst, 0, 0)
	from := seq * FrameData
	return append(dst, message[from:min(from+FrameData, len(message))]...)
}
