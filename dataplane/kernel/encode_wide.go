package kernel

import (
	"fmt"
	"math/bits"

	"github.com/pointsman/pointsman/dataplane"
)

// mappedBits are those in front of an IPv4 address in 16 bytes.
const mappedBits = 96

func encodePrefix(prefix dataplane.Prefix) (lbWidePrefixKey, lbWidePrefix) {
	length := prefix.Addresses.Bits()
	if prefix.Addresses.Addr().Is4() {
		length += mappedBits
	}
	value := lbWidePrefix{
		Protocol: uint8(prefix.Protocol),
		V6:       one(prefix.Addresses.Addr().Is6()),
		Bits:     uint8(length),
		Address:  encodeAddress(prefix.Addresses.Addr()),
	}
	key := lbWidePrefixKey{
		Bits:     widePrefixFixed + uint32(length),
		Protocol: value.Protocol,
		V6:       value.V6,
		Address:  value.Address,
	}
	return key, value
}

func decodePrefix(encoded lbWidePrefix) dataplane.Prefix {
	addr, length := decodeAddress(encoded.Address), int(encoded.Bits)
	if encoded.V6 == 0 {
		length -= mappedBits
	}
	prefix, _ := addr.Prefix(length)
	return dataplane.Prefix{Addresses: prefix, Protocol: dataplane.Protocol(encoded.Protocol)}
}

// The bits of the tries' keys that come before the address, and before the port,
// as WIDE_PREFIX_FIXED, WIDE_VIP_FIXED and WIDE_ONE_PORT in bpf/types.h. A test
// has the program find what is written.
const (
	widePrefixFixed = 32
	wideVIPFixed    = 160
	wideOnePort     = 0x80
	portBits        = 16
)

// encodeWideVIP fails where the ports are no block: a range has to be written as
// several.
func encodeWideVIP(vip dataplane.VIP) (lbWideVipKey, error) {
	_, prefix := encodePrefix(vip.Prefix())
	key := lbWideVipKey{Bits: wideVIPFixed + portBits + 1, Prefix: prefix, Port: encodePort(vip.Port), OnePort: wideOnePort}
	if vip.LastPort == 0 {
		return key, nil
	}
	size := uint32(vip.LastPort) - uint32(vip.Port) + 1
	if size&(size-1) != 0 || uint32(vip.Port)%size != 0 {
		return lbWideVipKey{}, fmt.Errorf("the ports of %s are no block", vip)
	}
	key.Bits, key.OnePort = wideVIPFixed+portBits-uint32(bits.TrailingZeros32(size)), 0
	return key, nil
}

func decodeWideVIP(key lbWideVipKey) dataplane.VIP {
	prefix := decodePrefix(key.Prefix)
	vip := dataplane.VIP{
		Addr: prefix.Addresses.Addr(), Port: decodePort(key.Port), Protocol: prefix.Protocol,
		Wide: dataplane.Wide{HostBits: uint8(prefix.Addresses.Addr().BitLen() - prefix.Addresses.Bits())},
	}
	if length := key.Bits - wideVIPFixed; length <= portBits {
		vip.LastPort = vip.Port + uint16(1<<(portBits-length)-1)
	}
	return vip
}

func encodeQUICKey(key dataplane.QUICKey) lbQuicKey {
	return lbQuicKey{Service: key.Service, Length: key.Length, Id: key.ID}
}

func decodeQUICKey(key lbQuicKey) dataplane.QUICKey {
	return dataplane.QUICKey{Service: key.Service, Length: key.Length, ID: key.Id}
}
