package dataplane

import (
	"crypto/sha512"
	"encoding/binary"
	"net/netip"
)

// HashWords is the length of the key of NH, as HASH_WORDS in bpf/types.h. A
// test in dataplane/kernel holds the program's choices equal to these.
const HashWords = 10

// Hash is the keyed hash of flows that all balancers of a fleet share: what the
// program computes of a packet, as bpf/hash.h describes. NH of UMAC (Black,
// Halevi, Krawczyk, Krovetz, Rogaway, CRYPTO 1999, section 4), finished with
// the fmix64 of MurmurHash3.
type Hash struct {
	Key      [HashWords]uint32
	SlotSeed uint64 // of the hash that chooses slots
	FlowSeed uint64 // of the hash that chooses places in the flow table
}

// NewHash expands the fleet's secret to NH's key and the finalisers' seeds: 56
// bytes of SHA-512, so that no two words of the key are related.
func NewHash(secret uint64) Hash {
	stream := sha512.Sum512(binary.BigEndian.AppendUint64([]byte("pointsman flow hash"), secret))
	var h Hash
	for i := range h.Key {
		h.Key[i] = binary.BigEndian.Uint32(stream[4*i:])
	}
	seeds := stream[4*len(h.Key):]
	h.SlotSeed = binary.BigEndian.Uint64(seeds)
	h.FlowSeed = binary.BigEndian.Uint64(seeds[8:])
	return h
}

// Slot is the slot of a client's flow to a VIP, counted from the start of
// Tables.Slots. Where the slot follows from the address alone, the client's
// port does not matter.
func (h *Hash) Slot(client netip.AddrPort, vip VIP, entry VIPEntry) uint32 {
	return entry.FirstSlot + uint32(h.slotHash(client, vip, entry)>>32*uint64(entry.SlotCount)>>32)
}

// Entropy is what outer headers tell switches of the flow: independent of its
// slot.
func (h *Hash) Entropy(client netip.AddrPort, vip VIP, entry VIPEntry) uint32 {
	return uint32(h.slotHash(client, vip, entry))
}

func (h *Hash) slotHash(client netip.AddrPort, vip VIP, entry VIPEntry) uint64 {
	sum := h.flowSum(client, vip)
	if entry.AffinityClient {
		sum = h.clientSum(client.Addr())
	}
	return mix(sum ^ h.SlotSeed)
}

// Flow is what places a client's flow to a VIP in the flow table: the lowest
// bits choose the bucket, the highest are its digest.
func (h *Hash) Flow(client netip.AddrPort, vip VIP) uint64 {
	return mix(h.flowSum(client, vip) ^ h.FlowSeed)
}

// Port is what places a nat source's ports towards a backend in the table of those
// in use: the lowest bits choose the line of the first eight, the highest are what
// the lines tell each other apart by.
func (h *Hash) Port(backend netip.AddrPort, source netip.Addr, protocol Protocol) uint64 {
	to, from := addressWords(backend.Addr()), addressWords(source)
	sum := h.nh(to[3], from[3], 0) + h.nh(uint32(portWord(backend.Port())), uint32(protocol), 2)
	if backend.Addr().Is6() {
		sum += h.nh(to[0], to[1], 4) + h.nh(to[2], from[0], 6) + h.nh(from[1], from[2], 8)
	}
	return mix(sum ^ h.FlowSeed)
}

// Place is where a VIP of one address and one port is looked for: some lowest bits.
func (h *Hash) Place(vip VIP) uint32 {
	to := addressWords(vip.Addr)
	sum := h.nh(to[3], vipWord(vip), 0)
	if vip.Addr.Is6() {
		sum += h.nh(to[0], to[1], 4) + h.nh(to[2], 0, 6)
	}
	return uint32((sum ^ sum>>32) * 0xff51afd7ed558ccd >> 32)
}

func (h *Hash) flowSum(client netip.AddrPort, vip VIP) uint64 {
	from, to := addressWords(client.Addr()), addressWords(vip.Addr)
	ports := uint32(portWord(client.Port()))<<16 | uint32(portWord(vip.Port))
	sum := h.nh(from[3], to[3], 0) + h.nh(ports, uint32(vip.Protocol), 2)
	if vip.Addr.Is6() {
		sum += h.nh(from[0], from[1], 4) + h.nh(from[2], to[0], 6) + h.nh(to[1], to[2], 8)
	}
	return sum
}

func (h *Hash) clientSum(client netip.Addr) uint64 {
	from := addressWords(client)
	sum := h.nh(from[3], 0, 0)
	if client.Is6() {
		sum += h.nh(from[0], from[1], 4) + h.nh(from[2], 0, 6)
	}
	return sum
}

func (h *Hash) nh(a, b uint32, word int) uint64 {
	return uint64(a+h.Key[word]) * uint64(b+h.Key[word+1])
}

func mix(sum uint64) uint64 {
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	sum *= 0xc4ceb9fe1a85ec53
	return sum ^ sum>>33
}

// addressWords are the 16 bytes of an address as the program loads them.
func addressWords(addr netip.Addr) (words [4]uint32) {
	bytes := addr.As16()
	for i := range words {
		words[i] = binary.NativeEndian.Uint32(bytes[4*i:])
	}
	return words
}

// vipWord is a VIP's port, protocol and family, as the program loads them at once.
func vipWord(vip VIP) uint32 {
	bytes := binary.BigEndian.AppendUint16(nil, vip.Port)
	family := byte(0)
	if vip.Addr.Is6() {
		family = 1
	}
	return binary.NativeEndian.Uint32(append(bytes, byte(vip.Protocol), family))
}

// portWord is a port as the program loads it.
func portWord(port uint16) uint16 {
	var bytes [2]byte
	binary.BigEndian.PutUint16(bytes[:], port)
	return binary.NativeEndian.Uint16(bytes[:])
}
