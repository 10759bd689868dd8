package nexthop

import (
	"strings"
	"testing"
)

// The links that below is shown: a card with VLANs, a bond of it, and others.
var (
	eth0v100 = Link{Index: 10, Name: "eth0.100", MAC: eth0MAC, MTU: 1500, Up: true, Carrier: true, Kind: "vlan", Parent: 2, Tag: Tag{ID: 100}}
	inner200 = Link{Index: 11, Name: "eth0.100.200", MAC: eth0MAC, MTU: 1500, Up: true, Carrier: true, Kind: "vlan", Parent: 10, Tag: Tag{ID: 200}}
	bond0    = Link{Index: 3, Name: "bond0", MAC: eth0MAC, MTU: 1500, Up: true, Carrier: true, Kind: "bond", BondMode: "802.3ad"}
	bond0v7  = Link{Index: 12, Name: "bond0.7", MAC: eth0MAC, MTU: 1500, Up: true, Carrier: true, Kind: "vlan", Parent: 3, Tag: Tag{ID: 7}}
)

func other(kind string) Link {
	return Link{Index: 20, Name: kind + "0", MAC: eth0MAC, MTU: 1500, Up: true, Carrier: true, Kind: kind}
}

func but(link Link, change func(*Link)) Link { change(&link); return link }

// over has the links given, and eth0 where none of them has its index. Packets
// arrive at another interface, in its driver.
func over(links ...Link) world {
	w := world{links: map[int]Link{eth0.Index: eth0}, ingress: []Ingress{{Name: "wan0", Attached: true, Native: true}}}
	for _, l := range links {
		w.links[l.Index] = l
	}
	return w
}

func TestAPacketLeavesFromTheDeviceBelowItsVLANs(t *testing.T) {
	service := but(eth0v100, func(l *Link) { l.Tag.Service = true })
	for _, row := range []struct {
		promise string
		world   world
		link    Link
		from    string
		vlan    [2]Tag
		mtu     int
	}{
		{"a network card sends for itself", over(), eth0, "eth0", [2]Tag{}, 1500},
		{"a card sends for its VLAN, with its tag", over(eth0v100), eth0v100, "eth0", [2]Tag{{ID: 100}}, 1500},
		{"a VLAN has an MTU of its own",
			over(), but(eth0v100, func(l *Link) { l.MTU = 1400 }), "eth0", [2]Tag{{ID: 100}}, 1400},
		{"a VLAN takes no more than the card below",
			over(but(eth0, func(l *Link) { l.MTU = 1300 })), eth0v100, "eth0", [2]Tag{{ID: 100}}, 1300},
		{"a VLAN of a VLAN has the lower one's tag outside, and its room is the packet's",
			over(eth0v100, inner200), inner200, "eth0", [2]Tag{{ID: 100}, {ID: 200}}, 1496},
		{"a card with room for the second tag takes whole packets",
			over(but(eth0, func(l *Link) { l.MTU = 1504 }), eth0v100, inner200), inner200, "eth0", [2]Tag{{ID: 100}, {ID: 200}}, 1500},
		{"a provider's tag stays one",
			over(service, inner200), inner200, "eth0", [2]Tag{{100, true}, {ID: 200}}, 1496},
		{"a bond sends for itself", over(bond0), bond0, "bond0", [2]Tag{}, 1500},
		{"a bond sends for its VLAN", over(bond0, bond0v7), bond0v7, "bond0", [2]Tag{{ID: 7}}, 1500},
		{"a veth and a tap send for themselves", over(), but(other("veth"), func(l *Link) { l.Parent, l.Abroad = 2, true }), "veth0", [2]Tag{}, 1500},
	} {
		t.Run(row.promise, func(t *testing.T) {
			got, trouble := row.world.below(row.link)
			if trouble != "" || got.from.Name != row.from || got.vlan != row.vlan || got.mtu != row.mtu {
				t.Errorf("%s sends it with %v and an MTU of %d (%q), want %s with %v and %d",
					got.from.Name, got.vlan, got.mtu, trouble, row.from, row.vlan, row.mtu)
			}
		})
	}
}

func TestADeviceThatXDPCannotSendFromIsNamedWithWhatToDo(t *testing.T) {
	down, dark := func(l *Link) { l.Up = false }, func(l *Link) { l.Carrier = false }
	third := Link{Index: 13, Name: "eth0.100.200.3", Kind: "vlan", Parent: 11, Tag: Tag{ID: 3}}
	for _, row := range []struct {
		promise string
		world   world
		link    Link
		says    string
	}{
		{"a VLAN that is down", over(), but(eth0v100, down), "interface eth0.100 is down: ip link set eth0.100 up"},
		{"a VLAN whose card is down, and it with the card", over(but(eth0, down)), but(eth0v100, down), "interface eth0 is down: ip link set eth0 up"},
		{"a VLAN whose card has no carrier", over(but(eth0, dark)), but(eth0v100, dark), "interface eth0 has no carrier"},
		{"the upper of two VLANs, the lower down", over(but(eth0v100, down)), inner200, "interface eth0.100 is down"},
		{"a third VLAN in a stack", over(eth0v100, inner200), third, "interface eth0.100 is at least the third VLAN"},
		{"VLAN 0", over(), but(eth0v100, func(l *Link) { l.Tag.ID = 0 }), "interface eth0.100 is the VLAN 0"},
		{"a VLAN of a card in another namespace", over(), but(eth0v100, func(l *Link) { l.Abroad = true }), "the interface below eth0.100 is in another network namespace"},
		{"a VLAN of a card that is not to be seen", over(), but(eth0v100, func(l *Link) { l.Parent = 99 }), "the interface below eth0.100 is in another network namespace"},
		{"a bond whose mode does not let XDP send", over(), but(bond0, func(l *Link) { l.BondMode = "balance-alb" }), "bond bond0 is in mode balance-alb, in which XDP cannot send from it: use active-backup"},
		{"a VLAN of such a bond", over(but(bond0, func(l *Link) { l.BondMode = "broadcast" })), bond0v7, "bond bond0 is in mode broadcast"},
		{"a bridge", over(), other("bridge"), "XDP cannot send from interface bridge0, a bridge: give the port that leads"},
		{"a team", over(), other("team"), "XDP cannot send from interface team0, a team: use a bond"},
		{"a tunnel with a MAC", over(), other("vxlan"), "XDP cannot send from interface vxlan0, a vxlan: route to the backends outside of the tunnel"},
		{"a tunnel without one", over(), but(other("ipip"), func(l *Link) { l.MAC = nil }), "interface ipip0 has no MAC address"},
		{"a macvlan", over(), but(other("macvlan"), func(l *Link) { l.Parent = 2 }), "XDP cannot send from interface macvlan0, a macvlan: give eth0, the interface below, the addresses and the route"},
		{"a macvlan of a card elsewhere", over(), but(other("macvlan"), func(l *Link) { l.Parent, l.Abroad = 2, true }), "XDP cannot send from interface macvlan0, a macvlan: route to the backends over a network card"},
		{"a VLAN of a bridge", over(other("bridge")), but(eth0v100, func(l *Link) { l.Parent = 20 }), "XDP cannot send from interface bridge0"},
		{"a device of no known kind", over(), other("frobnicator"), "XDP cannot send from interface frobnicator0, a frobnicator: route to the backends over a network card"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if _, trouble := row.world.below(row.link); !strings.HasPrefix(trouble, row.says) {
				t.Errorf("said %q, want %q …", trouble, row.says)
			}
		})
	}
}

func TestWhatCanBeSentFromDependsOnWhereAndHowPacketsArrive(t *testing.T) {
	bridge := other("bridge")
	native, generic := but(eth0, func(l *Link) { l.Native = true }), eth0
	for _, row := range []struct {
		promise string
		eth0    Link
		ingress []Ingress
		may     bool
	}{
		{"nobody knows yet, and the kernel shows no program", generic, []Ingress{{Name: "eth0"}}, true},
		{"an earlier daemon's program runs in the driver", native, []Ingress{{Name: "eth0"}}, false},
		{"the program is attached in the driver", generic, []Ingress{{"eth0", true, true}}, false},
		{"the program is attached in generic mode, where there was one in the driver", native, []Ingress{{"eth0", true, false}}, true},
		{"packets arrive by the very device", generic, []Ingress{{"bridge0", true, true}}, true},
		{"packets arrive by the device, and by another", generic, []Ingress{{"bridge0", true, false}, {"eth0", true, true}}, false},
	} {
		t.Run(row.promise, func(t *testing.T) {
			w := over(bridge, row.eth0)
			w.ingress = row.ingress
			if _, trouble := w.below(bridge); (trouble == "") != row.may {
				t.Errorf("said %q, want something: %v", trouble, !row.may)
			}
		})
	}
}

func TestAVLANThatGoesDownWithItsCardIsExplainedByTheCard(t *testing.T) {
	before := Resolution{Interface: "eth0.100", Index: 2}
	down := func(l *Link) { l.Up = false }
	for _, row := range []struct {
		promise string
		world   world
		says    string
	}{
		{"both are down", over(but(eth0, down), but(eth0v100, down)), "interface eth0 is down"},
		{"the VLAN is down", over(but(eth0v100, down)), "interface eth0.100 is down"},
		{"both are up", over(eth0v100), "no route to 10.20.0.11"},
		{"the VLAN is gone", over(), "no route to 10.20.0.11"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if got := row.world.resolve(web4, Route{Kind: NoRoute}, before); !strings.HasPrefix(got.Problem, row.says) {
				t.Errorf("said %q, want %q …", got.Problem, row.says)
			}
		})
	}
}
