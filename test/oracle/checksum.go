package oracle

import "encoding/binary"

// sum is RFC 1071's one's complement sum, begun with another.
func sum(of []byte, begun uint32) uint32 {
	for len(of) > 1 {
		begun += uint32(be16(of))
		of = of[2:]
	}
	if len(of) == 1 {
		begun += uint32(of[0]) << 8
	}
	return fold(begun)
}

func fold(sum uint32) uint32 {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum
}

func putChecksum(at []byte, sum uint32) {
	binary.BigEndian.PutUint16(at, ^uint16(fold(sum)))
}

// mend changes the first byte of a word and the checksum over it, by RFC 1624,
// equation 3: HC' = ~(~HC + ~m + m').
func mend(checksum, word []byte, first byte) {
	old := uint32(be16(word))
	word[0] = first
	putChecksum(checksum, uint32(^uint16(be16(checksum)))+uint32(^uint16(old))+uint32(be16(word)))
}

// pseudoHeader is the sum of RFC 8200, section 8.1.
func pseudoHeader(source, destination []byte, length int, protocol uint8) uint32 {
	return sum(source, sum(destination, uint32(length)+uint32(protocol)))
}
