package kernel

import (
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

// threeParts are the fragments of a datagram to port 80, first one first.
func threeParts(v6 bool, tags ...packet.Tag) (parts [3][]byte) {
	for i := range parts {
		payload := segment{packet.UDPIP, make([]byte, 1400-i/2)} // the last one is odd
		if i == 0 {
			payload = udp(80, 1392)
		}
		ip := ip4(part(uint16(175*i), i < 2))
		if v6 {
			ip = ip6(part(uint16(175*i), i < 2))
		}
		parts[i] = frame(ip, payload, tags...)
	}
	return parts
}

func TestPrivilegedFragmentsOfADeadBackendOrOfLongAgoAreNotSent(t *testing.T) {
	h := newHarness(t)
	web := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
	parts := threeParts(false)
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
