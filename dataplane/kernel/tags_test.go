package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// withTags is an untagged frame with tags, as they are written in Hop.VLAN.
func withTags(frame []byte, vlan [2]uint16) []byte {
	tagged := append([]byte{}, frame[:12]...)
	for _, tag := range vlan {
		switch {
		case tag == 0:
			continue
		case tag&dataplane.ServiceTag != 0:
			tagged = append(tagged, 0x88, 0xa8)
		default:
			tagged = append(tagged, 0x81, 0x00)
		}
		tagged = binary.BigEndian.AppendUint16(tagged, tag&^dataplane.ServiceTag)
	}
	return append(tagged, frame[12:]...)
}

// vlans are the ways to tag a frame.
var vlans = []struct {
	name string
	tags [2]uint16
}{
	{"VLAN 100", [2]uint16{100}},
	{"VLAN 4094 with priority 7", [2]uint16{7<<13 | 4094}},
	{"priority 5 and no VLAN", [2]uint16{5 << 13}},
	{"a provider's VLAN 200", [2]uint16{dataplane.ServiceTag | 200}},
	{"VLAN 100 within a provider's 200", [2]uint16{dataplane.ServiceTag | 200, 100}},
	{"VLAN 100 within VLAN 200, with priorities", [2]uint16{3<<13 | 200, 1<<13 | 100}},
}

// ways are all modes to backends of both families.
var ways = []struct {
	forward dataplane.Forward
	addr    netip.Addr
}{
	{dataplane.IPIP, backend4}, {dataplane.IPIP, backend6},
	{dataplane.GUE, backend4}, {dataplane.GUE, backend6},
	{dataplane.L2, backend4}, {dataplane.L2, backend6},
}

func TestPrivilegedAFrameLeavesWithTheTagsOfItsBackend(t *testing.T) {
	egress := inNamespace(t)
	h := newHarness(t)
	for _, way := range ways {
		for _, vlan := range vlans {
			for verdict, ifindex := range map[uint32]uint32{xdpTX: loopback, xdpRedirect: egress} {
				backend := backendTo(way.addr, way.forward, ifindex)
				backend.Hop.VLAN = vlan.tags
				h.want(serviceOn("web", backend))
				index, entry := onlyBackend(t, h)
				for _, f := range []flow{{protocol: dataplane.TCP, ack: true}, {protocol: dataplane.UDP, v6: true, size: 1}} {
					t.Run(fmt.Sprintf("%s, %s to %s, verdict %d, IPv6 %v", vlan.name, way.forward, way.addr, verdict, f.v6), func(t *testing.T) {
						got := h.send(f.frame(t))
						want := withMACs(t, f)
						if way.forward.Tunnels() {
							want = tunnelled(t, f, entry, entropyOf(untagged(got.frame, vlan.tags)))
						}
						expect(t, got, verdict, withTags(want, vlan.tags), fmt.Sprintf("backend %d", index))
					})
				}
			}
		}
	}
}

// untagged leaves the tags out of a frame that has as many.
func untagged(frame []byte, vlan [2]uint16) []byte {
	size := 0
	for _, tag := range vlan {
		if tag != 0 {
			size += 4
		}
	}
	return append(append([]byte{}, frame[:12]...), frame[12+size:]...)
}

func TestPrivilegedTagsOfArrivalEndAtTheBalancer(t *testing.T) {
	h := newHarness(t)
	untaggedWay := vlans[0]
	untaggedWay.name, untaggedWay.tags = "no VLAN", [2]uint16{}
	leaving := append(vlans[:len(vlans):len(vlans)], untaggedWay)
	for _, way := range ways {
		for _, out := range leaving {
			backend := backendTo(way.addr, way.forward, loopback)
			backend.Hop.VLAN = out.tags
			h.want(serviceOn("web", backend))
			index, entry := onlyBackend(t, h)
			for _, in := range vlans {
				for _, f := range []flow{{protocol: dataplane.UDP, size: 1}, {protocol: dataplane.TCP, v6: true}} {
					t.Run(fmt.Sprintf("%s to %s, %s to %s, IPv6 %v", in.name, out.name, way.forward, way.addr, f.v6), func(t *testing.T) {
						got := h.send(withTags(f.frame(t), in.tags))
						want := withMACs(t, f)
						if way.forward.Tunnels() {
							want = tunnelled(t, f, entry, entropyOf(untagged(got.frame, out.tags)))
						}
						expect(t, got, xdpTX, withTags(want, out.tags), fmt.Sprintf("backend %d", index))
					})
				}
			}
		}
	}
}
