package oracle

import "encoding/binary"

// Generic UDP Encapsulation: draft-ietf-intarea-gue-09, variant 0. Private data, one word behind the
// header, names the instance's port where that is not the VIP's.
const (
	gueSize     = 4
	guePortSize = 4
	guePort     = 6080
)

// gue is the UDP and the GUE header. The source port tells flows apart to
// switches, from the range of ephemeral ports. UDP's checksum is zero, over IPv6
// by RFC 6935 and 6936.
func gue(inner uint8, length int, entropy uint32, port uint16) []byte {
	header := binary.BigEndian.AppendUint16(nil, 0xc000|uint16(entropy&0x3fff))
	header = binary.BigEndian.AppendUint16(header, guePort)
	if port == 0 {
		header = binary.BigEndian.AppendUint16(header, uint16(udpSize+gueSize+length))
		return append(header, 0, 0, 0, inner, 0, 0)
	}
	header = binary.BigEndian.AppendUint16(header, uint16(udpSize+gueSize+guePortSize+length))
	header = append(header, 0, 0, 1, inner, 0, 0, 'p', 'm')
	return binary.BigEndian.AppendUint16(header, port)
}
