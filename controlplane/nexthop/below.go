package nexthop

import (
	"fmt"
	"slices"
)

// Tag is a VLAN tag of a frame.
type Tag struct {
	ID      uint16 // 1 to 4094; 0 is no tag
	Service bool   // its type is 0x88a8 (802.1ad), not 0x8100 (802.1Q)
}

// mostTags are the VLAN tags that a frame to a backend can carry.
const mostTags = 2

// tagBytes are those of a tag.
const tagBytes = 4

// frame is how a packet that is routed to a link leaves this host: from which
// device, with which tags, and how many bytes of IP fit. The program sends from
// the device below a VLAN, because a VLAN has no way for XDP to send.
type frame struct {
	from Link
	vlan [mostTags]Tag // the outer or only one, and the inner
	mtu  int
}

// below follows a link down to the device that sends for it. The trouble is
// that of the lowest device that has one: what is above mends with it.
func (w world) below(top Link) (f frame, trouble string) {
	var tags []Tag // the innermost first
	stack := []Link{top}
	f.mtu = top.MTU
	for link := top; link.Kind == "vlan"; {
		tags = append(tags, link.Tag)
		if objection := w.objectionToVLAN(link, len(tags)); objection != "" {
			return frame{from: link}, objection
		}
		link = w.links[link.Parent]
		f.mtu = min(f.mtu, link.MTU)
		stack = append(stack, link)
	}
	f.from = stack[len(stack)-1]
	for i, tag := range tags {
		f.vlan[len(tags)-1-i] = tag
	}
	if len(tags) > 1 {
		// What XDP hands a device may be as long as its MTU and one tag
		// (xdp_ok_fwd_dev in the kernel); the second takes its room from the packet.
		f.mtu = min(f.mtu, f.from.MTU-tagBytes*(len(tags)-1))
	}
	for i := range stack {
		if objection := objectionToLink(stack[len(stack)-1-i]); objection != "" {
			return f, objection
		}
	}
	return f, w.objectionToSending(f.from)
}

// objectionToVLAN says why nothing can be sent for a VLAN, whose tag is the nth.
func (w world) objectionToVLAN(link Link, n int) string {
	_, known := w.links[link.Parent]
	switch {
	case n > mostTags:
		return fmt.Sprintf("interface %s is at least the third VLAN in a stack, and a frame can carry %d tags: take one away", link.Name, mostTags)
	case link.Tag.ID == 0:
		return fmt.Sprintf("interface %s is the VLAN 0, which only marks priorities: use the interface below it", link.Name)
	case link.Abroad, !known:
		return fmt.Sprintf("the interface below %s is in another network namespace: move it into this one, or have pointsman run there", link.Name)
	}
	return ""
}

func objectionToLink(link Link) string {
	switch {
	case !link.Up:
		return fmt.Sprintf("interface %s is down: ip link set %s up", link.Name, link.Name)
	case !link.Carrier:
		return fmt.Sprintf("interface %s has no carrier: check its cable and the other end", link.Name)
	case len(link.MAC) != 6 || [6]byte(link.MAC) == [6]byte{}:
		return fmt.Sprintf("interface %s has no MAC address: backends are reached over Ethernet only", link.Name)
	}
	return ""
}

// senders are the kinds of link that take frames from XDP (ndo_xdp_xmit). Which
// network cards do is the driver's; nearly all that run programs natively.
var senders = map[string]bool{"": true, "veth": true, "bond": true, "tun": true}

// sendingModes are the modes of a bond in which it does (bond_xdp_get_xmit_slave).
var sendingModes = map[string]bool{"balance-rr": true, "active-backup": true, "balance-xor": true, "802.3ad": true}

// advice is what to do where another kind leads to backends.
var advice = map[string]string{
	"bridge": "give the port that leads to the backends the addresses and the route",
	"team":   "use a bond",
	"vxlan":  "route to the backends outside of the tunnel: ipip needs no other one",
	"geneve": "route to the backends outside of the tunnel: ipip needs no other one",
	"gretap": "route to the backends outside of the tunnel: ipip needs no other one",
	"dummy":  "no packet leaves this host by it",
}

// Ingress is an interface where packets for the VIPs arrive.
type Ingress struct {
	Name     string
	Attached bool // the program is, as Native says; else it is as the kernel says
	Native   bool // in the driver
}

// redirects tells whether packets are redirected to a device in the driver, which
// takes more of that device than generic mode does. What arrives at a device leaves
// by it whatever it is: that is no redirect.
func (w world) redirects(to Link) bool {
	return slices.ContainsFunc(w.ingress, func(in Ingress) bool {
		native := in.Native
		if !in.Attached {
			native = w.named(in.Name).Native
		}
		return native && in.Name != to.Name
	})
}

// objectionToSending says why XDP cannot send from a device.
func (w world) objectionToSending(from Link) string {
	if !w.redirects(from) {
		return ""
	}
	if from.Kind == "bond" && !sendingModes[from.BondMode] {
		return fmt.Sprintf("bond %s is in mode %s, in which XDP cannot send from it: use active-backup, 802.3ad, balance-xor or balance-rr", from.Name, from.BondMode)
	}
	if senders[from.Kind] {
		return ""
	}
	what, known := advice[from.Kind]
	if !known {
		what = "route to the backends over a network card, a bond, or a VLAN of these"
		if below, known := w.links[from.Parent]; known && !from.Abroad && from.Parent != from.Index {
			what = fmt.Sprintf("give %s, the interface below, the addresses and the route", below.Name)
		}
	}
	return fmt.Sprintf("XDP cannot send from interface %s, a %s: %s", from.Name, from.Kind, what)
}
