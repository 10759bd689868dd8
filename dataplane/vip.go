package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
)

// VIP is an address, port and protocol that clients use. Addr is unmapped. A wide
// one is a prefix of addresses, several ports, or both.
type VIP struct {
	Addr     netip.Addr // the lowest
	Port     uint16     // the lowest
	Protocol Protocol
	Wide
}

// Wide is what a wide VIP has beyond its first address and port; it is zero for
// an exact one.
type Wide struct {
	HostBits uint8  // of the address, from its end, that may be anything
	LastPort uint16 // of a range; 0 is VIP.Port alone
}

// AnyPort is the Port and the LastPort of a VIP with any port.
const AnyPort, LastOfAnyPort uint16 = 0, 65535

// IsWide tells whether the VIP is more than one address and port.
func (v VIP) IsWide() bool { return v.Wide != Wide{} }

// HasAnyPort tells whether every port will do. A range of all ports is not the
// same: it is more specific.
func (v VIP) HasAnyPort() bool { return v.Port == AnyPort && v.LastPort == LastOfAnyPort }

// Ports are the first and the last port.
func (v VIP) Ports() (first, last uint16) { return v.Port, max(v.Port, v.LastPort) }

// HasPort tells whether the port is one of the VIP's.
func (v VIP) HasPort(port uint16) bool {
	first, last := v.Ports()
	return first <= port && port <= last
}

// Addresses are those of the VIP.
func (v VIP) Addresses() netip.Prefix {
	return netip.PrefixFrom(v.Addr, v.Addr.BitLen()-int(v.HostBits))
}

// Covers tells whether an exact VIP's packets are the VIP's as well, unless there
// is a more specific one.
func (v VIP) Covers(exact VIP) bool {
	return v.Protocol == exact.Protocol && v.HasPort(exact.Port) && v.Addresses().Contains(exact.Addr)
}

// CompareWidth is below zero where v is more specific than other, as far as they
// have packets in common: the longer prefix, then the one port before the range,
// and the smaller range first.
func (v VIP) CompareWidth(other VIP) int {
	ports := func(v VIP) int {
		first, last := v.Ports()
		return int(last-first) + min(int(v.LastPort), 1)
	}
	return cmp.Or(cmp.Compare(v.HostBits, other.HostBits), cmp.Compare(ports(v), ports(other)))
}

// String is the VIP as a file has it: "192.0.2.10:443/tcp", and of a wide one
// "192.0.2.0/24:8000-8999/udp" or "[2001:db8::]/64:*/tcp".
func (v VIP) String() string {
	if !v.IsWide() {
		return netip.AddrPortFrom(v.Addr, v.Port).String() + "/" + v.Protocol.String()
	}
	host, ports := v.Addr.String(), fmt.Sprint(v.Port)
	if v.Addr.Is6() {
		host = "[" + host + "]"
	}
	if v.HostBits > 0 {
		host += fmt.Sprintf("/%d", v.Addresses().Bits())
	}
	switch {
	case v.HasAnyPort():
		ports = "*"
	case v.LastPort > 0:
		ports += fmt.Sprintf("-%d", v.LastPort)
	}
	return host + ":" + ports + "/" + v.Protocol.String()
}

// invalid says why a VIP could not be written, or read back as it was written.
func (v VIP) invalid() string {
	switch {
	case !plain(v.Addr):
		return "is not a plain address"
	case int(v.HostBits) > v.Addr.BitLen():
		return "has more free bits than its address has bits"
	case v.Addresses().Masked().Addr() != v.Addr:
		return "has bits set beyond its prefix"
	case v.LastPort > 0 && v.Port == 0 && !v.HasAnyPort():
		return "has a range of ports from 0 on"
	case v.LastPort > 0 && v.LastPort < v.Port:
		return "has a range of ports that ends before it begins"
	}
	return ""
}

// Prefix is where the program looks for wide VIPs of one protocol.
type Prefix struct {
	Addresses netip.Prefix
	Protocol  Protocol
}

func (p Prefix) String() string { return p.Addresses.String() + "/" + p.Protocol.String() }

// Prefix is that of a wide VIP.
func (v VIP) Prefix() Prefix { return Prefix{v.Addresses(), v.Protocol} }
