package dataplane

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// PacketFilter says which packets are of interest by their ends. Zero is all of
// them.
type PacketFilter struct {
	VIP      netip.Prefix // of the destination
	Port     uint16       // of the destination; packets whose ports cannot be read are of interest, too
	Protocol Protocol     // with Port; 0 is any
	Client   netip.Prefix // of the source
}

// ParsePacketFilter reads what an operator writes: a VIP as ADDRESS,
// ADDRESS:PORT, ADDRESS:PORT/PROTOCOL or PREFIX, and a client as ADDRESS or
// PREFIX. "" is any.
func ParsePacketFilter(vip, client string) (f PacketFilter, err error) {
	if vip != "" {
		if f.VIP, f.Port, f.Protocol, err = parseVIPFilter(vip); err != nil {
			return PacketFilter{}, fmt.Errorf("%q is no VIP: write 192.0.2.10, 192.0.2.10:443, [2001:db8::10]:443/tcp or 192.0.2.0/24", vip)
		}
	}
	if client != "" {
		if f.Client, err = parsePrefix(client); err != nil {
			return PacketFilter{}, fmt.Errorf("%q is no client: write an address, 198.51.100.7, or a prefix, 2001:db8::/32", client)
		}
	}
	return f, nil
}

func parseVIPFilter(text string) (prefix netip.Prefix, port uint16, protocol Protocol, err error) {
	if prefix, err := parsePrefix(text); err == nil {
		return prefix, 0, 0, nil
	}
	text, name, given := strings.Cut(text, "/")
	if given {
		protocol = map[string]Protocol{"tcp": TCP, "udp": UDP}[name]
		if protocol == 0 {
			return prefix, 0, 0, fmt.Errorf("there is no protocol %q", name)
		}
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return prefix, 0, 0, err
	}
	prefix, err = parsePrefix(at.Addr().String())
	return prefix, at.Port(), protocol, err
}

// parsePrefix takes an address for the prefix that it fills.
func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address", text)
		}
		text = addr.Unmap().String() + "/" + strconv.Itoa(addr.Unmap().BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// String is the filter in words, "" for the one that wants everything.
func (f PacketFilter) String() string {
	var words []string
	if f.VIP.IsValid() {
		words = append(words, "to "+f.VIP.String())
	}
	if f.Port != 0 {
		words = append(words, fmt.Sprintf("port %d", f.Port))
	}
	if f.Protocol != 0 {
		words = append(words, f.Protocol.String())
	}
	if f.Client.IsValid() {
		words = append(words, "from "+f.Client.String())
	}
	return strings.Join(words, " ")
}
