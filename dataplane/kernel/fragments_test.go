package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
)

// fragments are the fragments of the flow's packet as a sender makes them, of a
// number of bytes each, first one first. All packets of a test are told apart by
// their id.
func (f flow) fragments(t testing.TB, id uint16, size int) (frames [][]byte) {
	t.Helper()
	whole, _ := f.packet(t)
	headers := 20 + f.options
	if f.v6 {
		headers = 40
		for range f.behind {
			headers += 16
		}
	}
	payload := whole[headers:]
	for at := 0; at < len(payload); at += size {
		part := payload[at:min(at+size, len(payload))]
		more := at+size < len(payload)
		packet := ipv4Fragment(whole[:headers], part, id, at, more)
		if f.v6 {
			packet = ipv6Fragment(whole[:headers], byte(f.protocol), part, id, at, more)
		}
		frames = append(frames, slices.Concat(f.untagged(t)[:14], packet))
	}
	return frames
}

func ipv4Fragment(header, part []byte, id uint16, at int, more bool) []byte {
	packet := slices.Concat(header, part)
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[4:], id)
	bits := uint16(at / 8)
	if more {
		bits |= 0x2000
	}
	binary.BigEndian.PutUint16(packet[6:], bits)
	mendChecksum(packet[:len(header)])
	return packet
}

// ipv6Fragment has its fragment header behind all others.
func ipv6Fragment(headers []byte, protocol byte, part []byte, id uint16, at int, more bool) []byte {
	fragment := []byte{protocol, 0, 0, 0, 0xab, 0xcd, byte(id >> 8), byte(id)}
	bits := uint16(at)
	if more {
		bits |= 1
	}
	binary.BigEndian.PutUint16(fragment[2:], bits)
	packet := slices.Concat(headers, fragment, part)
	last := 6 // where the last header names what follows
	if len(headers) > 40 {
		last = len(headers) - 16
	}
	packet[last] = byte(layers.IPProtocolIPv6Fragment)
	binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-40))
	return packet
}

func TestPrivilegedFragmentsGoTheWayOfTheirFirst(t *testing.T) {
	h := newHarness(t)
	id := uint16(0)
	for _, way := range ways {
		h.want(serviceOn("web", backendTo(way.addr, way.forward, loopback)))
		index, entry := onlyBackend(t, h)
		for name, f := range map[string]flow{
			"a datagram":                            {protocol: dataplane.UDP, size: 3000},
			"a datagram over IPv6":                  {protocol: dataplane.UDP, size: 3000, v6: true},
			"a segment":                             {protocol: dataplane.TCP, ack: true, size: 3000},
			"a segment over IPv6":                   {protocol: dataplane.TCP, ack: true, size: 3000, v6: true},
			"options":                               {protocol: dataplane.UDP, size: 3000, options: 8},
			"an extension header":                   {protocol: dataplane.UDP, size: 3000, v6: true, behind: []layers.IPProtocol{routing}},
			"a segment of which few bytes are left": {protocol: dataplane.TCP, ack: true, size: 1000 - 20 + 15},
		} {
			id++
			var entropy uint32
			for i, frame := range f.fragments(t, id, 1000) {
				t.Run(fmt.Sprintf("%s, fragment %d, %s to %s", name, i, way.forward, way.addr), func(t *testing.T) {
					got := h.send(frame)
					expect(t, got, xdpTX, forwarded(t, frame, entry, got.frame), fmt.Sprintf("backend %d", index))
					if tells := way.addr.Is6() || way.forward == dataplane.GUE; !tells || !way.forward.Tunnels() {
						return
					}
					if i == 0 {
						entropy = entropyOf(got.frame)
					} else if entropyOf(got.frame) != entropy {
						t.Error("it may overtake the first, with another entropy")
					}
				})
			}
		}
		h.want()
	}
}

func TestPrivilegedAFragmentWhoseFirstIsUnknownIsNeverSentByAGuess(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	udp, udp6 := flow{protocol: dataplane.UDP, size: 1500}, flow{protocol: dataplane.UDP, size: 1500, v6: true}
	parts, parts6 := udp.fragments(t, 1, 1000), udp6.fragments(t, 1, 1000)
	own := flow{protocol: dataplane.UDP, size: 1500, port: 81}.fragments(t, 2, 1000)
	own6 := flow{protocol: dataplane.UDP, size: 1500, port: 81, v6: true}.fragments(t, 2, 1000)
	noFlags := flow{protocol: dataplane.TCP, size: 1500}.fragments(t, 3, 1000)
	noFlags[0] = edit(noFlags[0], 14+20+13, 0)
	for _, row := range []struct {
		name    string
		before  []byte
		frame   []byte
		verdict uint32
		outcome string
	}{
		{"before its first", nil, parts[1], xdpDrop, "DROP_FRAGMENT"},
		{"before its first, over IPv6", nil, parts6[1], xdpDrop, "DROP_FRAGMENT"},
		{"of another packet", udp.fragments(t, 4, 1000)[0], parts[1], xdpDrop, "DROP_FRAGMENT"},
		{"of another client's packet", parts[0], edit(parts[1], 14+15, 99), xdpDrop, "DROP_FRAGMENT"},
		{"of another protocol's packet", parts[0], edit(parts[1], 14+9, 6), xdpDrop, "DROP_FRAGMENT"},
		{"of a packet that was dropped", noFlags[0], noFlags[1], xdpDrop, "DROP_FRAGMENT"},
		{"with a length that lies", parts[0], edit(parts[1], 14+2, 0x30), xdpDrop, "DROP_BAD_LENGTH"},
		{"of a packet to another port of the VIP's address", own[0], own[1], xdpPass, "PASS_NOT_VIP"},
		{"of a packet to another port over IPv6", own6[0], own6[1], xdpPass, "PASS_NOT_VIP"},
		{"to another address", nil, edit(parts[1], 14+19, 99), xdpPass, "PASS_NOT_VIP"},
		{"to another address over IPv6", nil, edit(parts6[1], 14+39, 99), xdpPass, "PASS_NOT_VIP"},
		{"of another protocol", nil, edit(parts[1], 14+9, 47), xdpPass, "PASS_NOT_TCP_UDP"},
		{"of a ping", nil, edit(parts[1], 14+9, 1), xdpPass, "PASS_ICMP"},
	} {
		t.Run("a fragment "+row.name, func(t *testing.T) {
			if row.before != nil {
				h.send(row.before)
			}
			expect(t, h.send(row.frame), row.verdict, row.frame, row.outcome)
		})
	}
	t.Run("a first fragment without all of its ports' header", func(t *testing.T) {
		cut := parts[0][:14+20+7]
		expect(t, h.send(cut), xdpDrop, cut, "DROP_UNREADABLE")
	})
}

// RFC 8200, section 4.5: the next header that counts is the first fragment's.
func TestPrivilegedALaterIPv6FragmentMayNameAnotherNextHeader(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.L2, loopback)))
	parts := flow{protocol: dataplane.UDP, size: 1500, v6: true}.fragments(t, 5, 1000)
	h.send(parts[0])
	for _, next := range []layers.IPProtocol{layers.IPProtocolTCP, destinationOptions, routing, hopByHop, authentication} {
		frame := edit(parts[1], 14+40, byte(next))
		if got := h.send(frame); got.verdict != xdpTX || !bytes.Equal(got.frame, forwarded(t, frame, dataplane.BackendEntry{Forward: dataplane.L2}, nil)) {
			t.Errorf("next header %s: verdict %d, counted as %v", next, got.verdict, got.moved)
		}
	}
}

func TestPrivilegedFragmentsOfADeadBackendOrOfLongAgoAreNotSent(t *testing.T) {
	h := newHarness(t)
	web := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
	parts := flow{protocol: dataplane.UDP, size: 1500}.fragments(t, 6, 1000)
	for name, meanwhile := range map[string]func(){
		"the backend has died": func() { h.want(serviceOn("web")) },
		// One more than it says, since a second began before the first came.
		"its time is over": func() { h.turnClock(dataplane.FragmentSeconds + 1) },
	} {
		h.want(web)
		h.send(parts[0])
		if got := h.send(parts[1]); got.verdict != xdpTX {
			t.Fatalf("at first: verdict %d, counted as %v", got.verdict, got.moved)
		}
		meanwhile()
		t.Run(name, func(t *testing.T) { expect(t, h.send(parts[1]), xdpDrop, parts[1], "DROP_FRAGMENT") })
	}
}
