package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// The one border of byte orders: in C, addresses and ports are kept as the
// network has them; in Go they are netip values and numbers.

func encodeAddress(addr netip.Addr) lbAddress {
	var encoded lbAddress
	bytes := addr.As16()
	for i := range encoded.Word {
		encoded.Word[i] = binary.NativeEndian.Uint32(bytes[4*i:])
	}
	return encoded
}

func decodeAddress(encoded lbAddress) netip.Addr {
	var bytes [16]byte
	for i, word := range encoded.Word {
		binary.NativeEndian.PutUint32(bytes[4*i:], word)
	}
	return netip.AddrFrom16(bytes).Unmap()
}

// encodeRange is an address and its mask, both as sixteen bytes; both are zero
// for the prefix that holds all addresses of both families.
func encodeRange(prefix netip.Prefix) (address, mask [4]uint32) {
	if !prefix.IsValid() {
		return address, mask
	}
	bits := prefix.Bits() + 128 - prefix.Addr().BitLen()
	var ones [16]byte
	for i := range bits {
		ones[i/8] |= 0x80 >> (i % 8)
	}
	mask = encodeAddress(netip.AddrFrom16(ones)).Word
	return encodeAddress(prefix.Masked().Addr()).Word, mask
}

func encodePort(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}

func decodePort(encoded uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, encoded))
}

func encodeVIP(vip dataplane.VIP) lbVipKey {
	return lbVipKey{
		Address:  encodeAddress(vip.Addr),
		Port:     encodePort(vip.Port),
		Protocol: uint8(vip.Protocol),
		V6:       one(vip.Addr.Is6()),
	}
}

func decodeVIP(key lbVipKey) dataplane.VIP {
	return dataplane.VIP{
		Addr:     decodeAddress(key.Address),
		Port:     decodePort(key.Port),
		Protocol: dataplane.Protocol(key.Protocol),
	}
}

func encodeVIPAddress(addr netip.Addr) lbVipAddress {
	return lbVipAddress{Address: encodeAddress(addr), V6: uint32(one(addr.Is6()))}
}

func encodeVIPEntry(entry dataplane.VIPEntry) lbVip {
	encoded := lbVip{
		Service:     entry.Service,
		FirstSlot:   entry.FirstSlot,
		SlotCount:   entry.SlotCount,
		IdleSeconds: entry.IdleSeconds,
		QuicOffset:  entry.QUIC.Offset,
		QuicLength:  entry.QUIC.Length,
	}
	for flag, set := range map[lbVipFlag]bool{
		lbVipFlagVIP_UNSETTLED:       entry.Unsettled,
		lbVipFlagVIP_TRACK_ALWAYS:    entry.TrackAlways,
		lbVipFlagVIP_AFFINITY_CLIENT: entry.AffinityClient,
		lbVipFlagVIP_AFFINITY_QUIC:   entry.QUIC.Length > 0,
		lbVipFlagVIP_NAT:             entry.NAT,
	} {
		if set {
			encoded.Flags |= flag
		}
	}
	return encoded
}

func decodeVIPEntry(encoded lbVip) dataplane.VIPEntry {
	return dataplane.VIPEntry{
		Service:        encoded.Service,
		FirstSlot:      encoded.FirstSlot,
		SlotCount:      encoded.SlotCount,
		IdleSeconds:    encoded.IdleSeconds,
		Unsettled:      encoded.Flags&lbVipFlagVIP_UNSETTLED != 0,
		TrackAlways:    encoded.Flags&lbVipFlagVIP_TRACK_ALWAYS != 0,
		AffinityClient: encoded.Flags&lbVipFlagVIP_AFFINITY_CLIENT != 0,
		NAT:            encoded.Flags&lbVipFlagVIP_NAT != 0,
		QUIC:           dataplane.QUIC{Offset: encoded.QuicOffset, Length: encoded.QuicLength},
	}
}

// encodeBackend fails where a tunnel would have no source of the outer family:
// the program would send what no router accepts.
func encodeBackend(entry dataplane.BackendEntry) (lbBackend, error) {
	hop := entry.Hop
	if entry.Dead {
		return lbBackend{
			Destination: encodeAddress(entry.Addr),
			Forward:     lbForward(entry.Forward),
			Port:        encodePort(entry.Port),
			Service:     entry.Service,
		}, nil
	}
	if hop.Interface == 0 {
		return lbBackend{}, fmt.Errorf("backend %s has no egress interface", entry.ID)
	}
	if hop.MTU < entry.Overhead() {
		return lbBackend{}, fmt.Errorf("backend %s has an MTU of %d, and its outer headers take %d", entry.ID, hop.MTU, entry.Overhead())
	}
	encoded := lbBackend{
		NextHopMac:  hop.NextHopMAC,
		EgressMac:   hop.EgressMAC,
		Ifindex:     hop.Interface,
		Destination: encodeAddress(entry.Addr),
		Longest:     hop.MTU - entry.Overhead(),
		Vlan:        hop.VLAN,
		Forward:     lbForward(entry.Forward),
		OuterV6:     one(entry.OuterFamilyV6()),
		Port:        encodePort(entry.Port),
		Service:     entry.Service,
	}
	if hop.Source.IsValid() {
		encoded.Source = encodeAddress(hop.Source)
	}
	if !entry.Forward.NeedsSource() {
		return encoded, nil
	}
	if !hop.Source.IsValid() || hop.Source.Is4() != entry.Addr.Is4() {
		return lbBackend{}, fmt.Errorf("backend %s has no source address of its family for %s", entry.ID, entry.Forward)
	}
	if entry.Forward == dataplane.NAT && entry.Port == 0 {
		return lbBackend{}, fmt.Errorf("backend %s has no port for nat", entry.ID)
	}
	if entry.Forward.Tunnels() && entry.Addr.Is4() {
		encoded.OuterChecksum = outerChecksum(hop.Source, entry.Addr)
	}
	return encoded, nil
}

func decodeBackend(encoded lbBackend) dataplane.BackendEntry {
	entry := dataplane.BackendEntry{
		Service: encoded.Service,
		ID:      dataplane.ID{Addr: decodeAddress(encoded.Destination), Port: decodePort(encoded.Port)},
		Forward: dataplane.Forward(encoded.Forward),
		Dead:    encoded.Ifindex == 0,
		Hop: dataplane.Hop{
			Interface:  encoded.Ifindex,
			EgressMAC:  encoded.EgressMac,
			NextHopMAC: encoded.NextHopMac,
			VLAN:       encoded.Vlan,
		},
	}
	if !entry.Dead {
		entry.Hop.MTU = encoded.Longest + entry.Overhead()
	}
	if encoded.Source != (lbAddress{}) {
		entry.Hop.Source = decodeAddress(encoded.Source)
	}
	return entry
}

// outerChecksum is the RFC 1071 sum of what is the same in every outer IPv4
// header to one backend: version and length 0x45, identification 0, DF, TTL 64
// and the addresses. TOS, total length and protocol are added for each packet.
func outerChecksum(source, destination netip.Addr) uint16 {
	sum := uint32(0x4500 + 0x4000 + 64<<8)
	for _, addr := range []netip.Addr{source, destination} {
		bytes := addr.As4()
		sum += uint32(binary.BigEndian.Uint16(bytes[:2])) + uint32(binary.BigEndian.Uint16(bytes[2:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func encodeService(entry dataplane.ServiceEntry) (lbService, error) {
	encoded := lbService{
		FirstSlot:   entry.FirstSlot,
		SlotCount:   entry.SlotCount,
		Fingerprint: entry.Fingerprint,
	}
	if entry.Name == "" || len(entry.Name) >= len(encoded.Name) {
		return lbService{}, fmt.Errorf("service name %q is not 1 to %d bytes long", entry.Name, len(encoded.Name)-1)
	}
	for i := range len(entry.Name) {
		encoded.Name[i] = int8(entry.Name[i])
	}
	return encoded, nil
}

func decodeService(encoded lbService) dataplane.ServiceEntry {
	var name []byte
	for _, c := range encoded.Name {
		if c == 0 {
			break
		}
		name = append(name, byte(c))
	}
	return dataplane.ServiceEntry{
		Name:        string(name),
		FirstSlot:   encoded.FirstSlot,
		SlotCount:   encoded.SlotCount,
		Fingerprint: encoded.Fingerprint,
	}
}

func one(condition bool) uint8 {
	if condition {
		return 1
	}
	return 0
}
