package kernel

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// quicService has backends that are named "ab0", "ab1", … as far as length goes.
func quicService(quic dataplane.QUIC, backends int) dataplane.Service {
	service := serviceOn("media")
	service.QUIC = quic
	for n := range backends {
		backend := backendTo(netip.AddrFrom4([4]byte{203, 0, 113, byte(20 + n)}), dataplane.L2, loopback)
		backend.Hop.NextHopMAC = [6]byte{2, 0, 0, 0, 9, byte(n)}
		backend.QUICID = quicName(quic, n)
		service.Backends = append(service.Backends, backend)
	}
	return service
}

func quicName(quic dataplane.QUIC, n int) string {
	return "abcdefg"[:quic.Length-1] + string(byte('0'+n))
}

// quicPayload is mostly what it should be, with the ID of some backend in it.
func quicPayload(random *rand.Rand, quic dataplane.QUIC) []byte {
	id := append(make([]byte, quic.Offset), quicName(quic, random.IntN(5))...)
	id = append(id, make([]byte, random.IntN(4))...)
	payload := append([]byte{0x40}, id...)
	if random.IntN(2) == 0 {
		payload = append([]byte{0xc3, 0, 0, 0, 1, byte(len(id))}, id...)
	}
	switch random.IntN(6) {
	case 0:
		payload = payload[:random.IntN(len(payload)+1)]
	case 1:
		payload[random.IntN(len(payload))] = byte(random.Uint32())
	case 2:
		payload = append(payload, make([]byte, 1200)...)
	}
	return payload
}

func TestPrivilegedAQUICConnectionGoesToTheBackendThatItNames(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHarness(t)
	hash := dataplane.NewHash(42)
	byID, byFlow := 0, 0
	for range 40 {
		quic := dataplane.QUIC{Length: uint8(1 + random.IntN(dataplane.MaxQUICID))}
		quic.Offset = uint8(random.IntN(dataplane.MaxConnectionID - int(quic.Length) + 1))
		service := quicService(quic, 1+random.IntN(4))
		service.Tracking = dataplane.TrackNever             // the owner of a slot alone decides
		service.Backends[0].Weight = uint16(random.IntN(2)) // draining, it keeps its connections
		h.want(service)
		for range 100 {
			vip := service.VIPs[random.IntN(len(service.VIPs))]
			payload := quicPayload(random, quic)
			entry, client := h.tables.VIPs[vip], netip.AddrPortFrom(client4, 40000)
			if vip.Addr.Is6() {
				client = netip.AddrPortFrom(client6, 40000)
			}
			want, named := h.tables.Slots[hash.Slot(client, vip, entry)], false
			if id, found := quic.Find(payload); found && vip.Protocol == dataplane.UDP {
				if index, known := h.tables.QUICIDs[quic.Key(entry.Service, id)]; known {
					want, named = index, true
				}
			}
			if byFlow++; named {
				byID++
			}
			got := h.send(frameTo(vip, payload))
			if want == dataplane.NoBackend {
				if got.moved["DROP_NO_BACKEND"] != 1 {
					t.Fatalf("seed %d: %x to %s has nobody, and got %v", seed, payload, vip, got.moved)
				}
				continue
			}
			if mac := h.tables.Backends[want].Hop.NextHopMAC; got.verdict != xdpTX || [6]byte(got.frame) != mac {
				t.Fatalf("seed %d: %x to %s belongs to %x (named: %t by %+v) and got verdict %d to %x, %v",
					seed, payload, vip, mac, named, quic, got.verdict, got.frame[:6], got.moved)
			}
		}
	}
	if byID < 300 || byFlow-byID < 300 {
		t.Errorf("of %d packets, %d went by ID", byFlow, byID)
	}
}

// A dead backend's ID may still be there for a moment.
func TestPrivilegedAQUICConnectionOfADeadBackendGoesByFlow(t *testing.T) {
	h := newHarness(t)
	quic := dataplane.QUIC{Offset: 1, Length: 2}
	h.want(quicService(quic, 2))
	frame := frameTo(dataplane.VIP{Addr: vip4, Port: 80, Protocol: dataplane.UDP}, []byte("\x40_a1 a connection of the second backend"))
	if got := h.send(frame); got.frame[5] != 1 {
		t.Fatalf("it goes to %x", got.frame[:6])
	}
	ids := h.tables.QUICIDs
	h.want(quicService(quic, 1))
	for key, index := range ids {
		h.apply(dataplane.PutQUICID{Key: key, Backend: index})
	}
	if got := h.send(frame); got.verdict != xdpTX || got.frame[5] != 0 {
		t.Errorf("with verdict %d it goes to %x", got.verdict, got.frame[:6])
	}
}
