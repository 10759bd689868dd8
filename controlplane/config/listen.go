package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/pointsman/pointsman/dataplane"
)

const listenForm = `write "192.0.2.10:443/tcp" or "[2001:db8::10]:443/udp"; a range is 8000-8999, any port *, a prefix 192.0.2.0/24 or [2001:db8::]/64`

// listen reads a VIP, ADDRESS:PORT/PROTOCOL; the address may be a prefix, the port
// a range or *.
func listen(value cty.Value) (Listen, *wrong) {
	s, mistake := text(value)
	if mistake != nil {
		return Listen{}, mistake
	}
	vip, mistake := readVIP(s)
	if mistake != nil {
		mistake.summary = fmt.Sprintf("%q: %s", s, mistake.summary)
		if mistake.detail == "" {
			mistake.detail = listenForm
		}
	}
	return Listen{VIP: vip}, mistake
}

func readVIP(s string) (vip dataplane.VIP, mistake *wrong) {
	slash := strings.LastIndexByte(s, '/')
	if slash < 0 {
		return vip, &wrong{summary: "there is no /tcp or /udp at the end"}
	}
	protocol := s[slash+1:]
	colon := strings.LastIndexByte(s[:slash], ':')
	if colon < 0 {
		return vip, &wrong{summary: "this is not ADDRESS:PORT, with an IPv6 address in brackets"}
	}
	if mistake = readHost(s[:colon], &vip); mistake != nil {
		return vip, mistake
	}
	if mistake = readPorts(s[colon+1:slash], &vip); mistake != nil {
		return vip, mistake
	}
	switch protocol {
	case "tcp":
		vip.Protocol = dataplane.TCP
	case "udp":
		vip.Protocol = dataplane.UDP
	default:
		return vip, &wrong{summary: fmt.Sprintf("protocol %q is neither tcp nor udp", protocol)}
	}
	if masked := vip.Addresses().Masked().Addr(); masked != vip.Addr {
		vip.Addr = masked
		return vip, &wrong{"the address has bits set beyond the prefix's length", fmt.Sprintf("did you mean %q?", vip)}
	}
	return vip, nil
}

// readHost reads an address or a prefix. That of an IPv6 prefix may end before its
// length or after it: [2001:db8::]/64 and [2001:db8::/64].
func readHost(s string, vip *dataplane.VIP) *wrong {
	host, length, prefixed := s, "", false
	if inner, bracketed := strings.CutPrefix(s, "["); bracketed {
		var rest string
		var closed bool
		if host, rest, closed = strings.Cut(inner, "]"); !closed {
			return &wrong{summary: "this is not ADDRESS:PORT, with an IPv6 address in brackets"}
		}
		if host, length, prefixed = strings.Cut(host, "/"); rest != "" {
			if length, prefixed = strings.CutPrefix(rest, "/"); !prefixed {
				return &wrong{summary: "this is not ADDRESS:PORT, with an IPv6 address in brackets"}
			}
		}
	} else if host, length, prefixed = strings.Cut(s, "/"); strings.Contains(host, ":") {
		return &wrong{summary: "this is not ADDRESS:PORT, with an IPv6 address in brackets"}
	}
	addr, why := address(host)
	if why != "" {
		return &wrong{summary: why}
	}
	vip.Addr = addr
	if prefixed {
		n, err := strconv.ParseUint(length, 10, 8)
		if err != nil || int(n) > addr.BitLen() {
			return &wrong{summary: fmt.Sprintf("%q is not a prefix length from 0 to %d", length, addr.BitLen())}
		}
		vip.HostBits = uint8(addr.BitLen() - int(n))
	}
	return nil
}

// readPorts reads a port, a range or *.
func readPorts(s string, vip *dataplane.VIP) *wrong {
	if s == "*" {
		vip.Port, vip.LastPort = dataplane.AnyPort, dataplane.LastOfAnyPort
		return nil
	}
	first, last, ranged := strings.Cut(s, "-")
	for _, port := range []struct {
		digits string
		into   *uint16
	}{{first, &vip.Port}, {last, &vip.LastPort}} {
		if port.digits == "" && !ranged {
			continue
		}
		number, err := strconv.ParseUint(port.digits, 10, 16)
		if err != nil || number == 0 {
			return &wrong{summary: fmt.Sprintf("port %q is not a number from 1 to 65535", port.digits)}
		}
		*port.into = uint16(number)
	}
	switch {
	case first == "":
		return &wrong{summary: `port "" is not a number from 1 to 65535`}
	case ranged && vip.LastPort < vip.Port:
		return &wrong{fmt.Sprintf("the range %s ends before it begins", s), fmt.Sprintf("did you mean %s-%s?", last, first)}
	case vip.LastPort == vip.Port:
		vip.LastPort = 0
	}
	return nil
}

// overlap tells whether two VIPs with ranges of ports have packets of which
// neither is the more specific.
func overlap(a, b dataplane.VIP) bool {
	ranged := func(v dataplane.VIP) bool { return v.LastPort > 0 && !v.HasAnyPort() }
	return a.Prefix() == b.Prefix() && ranged(a) && ranged(b) && a.Port <= b.LastPort && b.Port <= a.LastPort
}

// entries is how many entries of the kernel's map a VIP takes: a range of ports
// one for each of the powers of two that it is made of.
func entries(vip Listen) uint64 { return uint64(len(dataplane.Blocks([]dataplane.VIP{vip.VIP}))) }

// single tells whether a VIP says which port a backend listens on.
func (l Listen) single() bool { return l.LastPort == 0 }

// within tells whether all addresses of a VIP lie in a prefix.
func within(p netip.Prefix, vip dataplane.VIP) bool {
	return p.Bits() <= vip.Addresses().Bits() && p.Contains(vip.Addr)
}
