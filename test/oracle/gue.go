package oracle

import "encoding/binary"

// Generic UDP Encapsulation: draft-ietf-intarea-gue-09, variant 0, no options.
const (
	gueSize = 4
	guePort = 6080
)

// gue is the UDP and the GUE header. The source port tells flows apart to
// switches, from the range of ephemeral ports. UDP's checksum is zero, over IPv6
// by RFC 6935 and 6936.
func gue(inner uint8, length int, entropy uint32) []byte {
	header := binary.BigEndian.AppendUint16(nil, 0xc000|uint16(entropy&0x3fff))
	header = binary.BigEndian.AppendUint16(header, guePort)
	header = binary.BigEndian.AppendUint16(header, uint16(udpSize+gueSize+length))
	return append(header, 0, 0, 0, inner, 0, 0)
}
