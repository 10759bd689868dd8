package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// backendAddress reads a backend's label, ADDRESS or ADDRESS:PORT.
func backendAddress(s string) (netip.Addr, uint16, *wrong) {
	host, port := s, uint16(0)
	if split, digits, err := net.SplitHostPort(s); err == nil {
		number, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || number == 0 {
			return netip.Addr{}, 0, &wrong{fmt.Sprintf("port %q of backend %q is not a number from 1 to 65535", digits, s),
				"without a port it is the VIP's"}
		}
		host, port = split, uint16(number)
	} else if strings.HasPrefix(s, "[") {
		host = strings.TrimSuffix(s[1:], "]")
	}
	addr, why := address(host)
	if why != "" {
		return netip.Addr{}, 0, &wrong{fmt.Sprintf("backend %q: %s", s, why),
			`write "10.20.0.11", "10.20.0.11:443", "2001:db8::11" or "[2001:db8::11]:443"`}
	}
	return addr, port, nil
}

// address reads an address that packets can be sent to, or says why not.
func address(s string) (addr netip.Addr, why string) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return addr, fmt.Sprintf("%q is not an IP address", s)
	case addr.Zone() != "":
		return addr, "an address with a zone means something on one link only"
	case addr.Is4In6():
		return addr, fmt.Sprintf("write the IPv4 address itself, %s", addr.Unmap())
	case addr.IsUnspecified():
		return addr, "this is the unspecified address"
	case addr.IsLoopback():
		return addr, "this is a loopback address"
	case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return addr, "this is a multicast or broadcast address"
	case addr.IsLinkLocalUnicast():
		return addr, "this is a link-local address"
	}
	return addr, ""
}

// prefix reads ADDRESS/BITS without host bits.
func prefix(value cty.Value) (netip.Prefix, *wrong) {
	s, mistake := text(value)
	if mistake != nil {
		return netip.Prefix{}, mistake
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.Prefix{}, &wrong{fmt.Sprintf("%q is an address, not a prefix", s),
			fmt.Sprintf(`write "%s/%d" for this address alone`, addr, addr.BitLen())}
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, &wrong{fmt.Sprintf("%q is not a prefix", s), `write "192.0.2.0/24" or "2001:db8::/64"`}
	case p.Addr().Is4In6():
		return p, &wrong{fmt.Sprintf("%q hides an IPv4 prefix in an IPv6 one", s), "write the IPv4 prefix itself"}
	case p != p.Masked():
		return p, &wrong{fmt.Sprintf("%q has bits set beyond its length", s), fmt.Sprintf("did you mean %q?", p.Masked())}
	}
	return p, nil
}

// consulAddress is what Consul's client can dial.
func consulAddress(value cty.Value) (string, *wrong) {
	s, mistake := name(value)
	if mistake != nil {
		return "", mistake
	}
	u, err := url.Parse(s)
	ours := err == nil && ((u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil ||
		u.Scheme == "unix" && u.Path != "")
	if !ours {
		return "", &wrong{fmt.Sprintf("%q is not the address of a Consul agent", s),
			`write "https://127.0.0.1:8501", "http://127.0.0.1:8500" or "unix:///run/consul.sock"`}
	}
	return s, nil
}

// tcpAddress is where to listen, ADDRESS:PORT, or "" for nowhere. No names: what
// they mean may change, and who can reach the daemon with it.
func tcpAddress(value cty.Value) (string, *wrong) {
	s, mistake := text(value)
	if mistake != nil || s == "" {
		return s, mistake
	}
	at, err := netip.ParseAddrPort(s)
	if err != nil || at.Port() == 0 {
		return "", &wrong{fmt.Sprintf("%q is not ADDRESS:PORT", s), `write "127.0.0.1:9731" or "[::1]:9731"; "0.0.0.0:9731" is all addresses, "" nowhere`}
	}
	return s, nil
}
