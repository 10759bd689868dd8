package dataplane

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// tableVersion goes into every fingerprint. It changes when the same members
// get other slots, so that a new program rebuilds an old one's tables.
const tableVersion = 1

// fingerprint names the table of a service: the 64 bits are enough, because
// only tables of the same service are ever compared. It says nothing of next
// hops or of backends without weight, for which no table need be built. It does
// not depend on the order of backends, and is never 0.
func fingerprint(s *Service, scratch []byte) (uint64, []byte) {
	const size = 16 + 2 + 2
	scratch = binary.BigEndian.AppendUint32(scratch[:0], tableVersion)
	scratch = binary.BigEndian.AppendUint32(scratch, s.Slots)
	header, ordered := len(scratch), true
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Weight == 0 {
			continue
		}
		addr := b.Addr.As16()
		scratch = append(scratch, addr[:]...)
		scratch = binary.BigEndian.AppendUint16(scratch, b.Port)
		scratch = binary.BigEndian.AppendUint16(scratch, b.Weight)
		if end := len(scratch); end > header+size {
			ordered = ordered && bytes.Compare(scratch[end-2*size:end-size], scratch[end-size:end]) < 0
		}
	}
	if !ordered {
		sortRecords(scratch[header:], size)
	}
	sum := sha256.Sum256(scratch)
	return max(binary.BigEndian.Uint64(sum[:]), 1), scratch
}

// sortRecords sorts records of a size that lie one after the other.
func sortRecords(all []byte, size int) {
	records := slices.Collect(slices.Chunk(slices.Clone(all), size))
	slices.SortFunc(records, bytes.Compare)
	copy(all, bytes.Join(records, nil))
}
