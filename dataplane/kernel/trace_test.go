package kernel

import (
	"maps"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedAnICMPErrorLeavesNoTraceOfItsFlow(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback), backendTo(backend6, dataplane.IPIP, loopback)))
	h.moveAllSlots()
	tcp := func(client uint16, flags uint8) segment {
		return segment{packet.TCPIP, packet.TCP(client, 80, flags, nil, nil)}
	}
	h.send(frame(ip4(), tcp(1111, packet.SYN)))
	for _, row := range []struct {
		name    string
		client  uint16
		of      change
		segment segment
	}{
		{"a flow that has just been opened", 1111, protocol(packet.TCPIP), tcp(1111, packet.ACK)},
		{"a flow that nobody remembers", 1112, protocol(packet.TCPIP), tcp(1112, packet.ACK)},
		{"a flow that is being learned", 1113, ofUDP, segment{packet.UDPIP, packet.UDP(1113, 80, nil)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			flows, conditions := slices.Clone(h.tables.Flows), slices.Clone(h.tables.Conditions)
			ports := packet.UDP(80, row.client, nil) // and four bytes more, all that RFC 792 promises
			quote := ip4(from(vip4.String()), to(client4.String()), row.of).Packet(ports)
			err := h.send(frame(ip4(), control(3, 0, quote)))
			if !slices.Equal(h.tables.Flows, flows) || !slices.Equal(h.tables.Conditions, conditions) {
				t.Error("it left a trace")
			}
			if packet := h.send(frame(ip4(), row.segment)); err.verdict != xdpTX || !maps.Equal(err.moved, packet.moved) {
				t.Errorf("it went to %v, and its flow's packets go to %v", err.moved, packet.moved)
			}
		})
	}
}

// moveAllSlots gives every slot of two backends the other one as a fallback.
func (h *harness) moveAllSlots() {
	h.t.Helper()
	for vip, entry := range h.tables.VIPs {
		entry.Unsettled, entry.TrackAlways = true, true
		h.apply(dataplane.PutVIP{VIP: vip, Entry: entry})
	}
	for slot, owner := range h.tables.Slots {
		if owner != dataplane.NoBackend {
			h.tables.Conditions.Put(uint32(slot), dataplane.TCP, dataplane.Condition{Phase: dataplane.Moving, Fallback: 3 - owner})
			h.tables.Conditions.Put(uint32(slot), dataplane.UDP, dataplane.Condition{Phase: dataplane.Learning, Fallback: 3 - owner})
		}
	}
}

// A card that spreads its queues anew has a flow's packets come on another CPU.
func TestPrivilegedAFlowIsRememberedOnWhicheverCPUItsPacketsCome(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback), backendTo(backend6, dataplane.IPIP, loopback)))
	h.moveAllSlots()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for client := range uint16(20) {
		opened := h.send(frame(ip4(), segment{packet.TCPIP, packet.TCP(1000+client, 80, packet.SYN, nil, nil)}))
		for cpu := range runtime.NumCPU() {
			var one unix.CPUSet
			if one.Set(cpu); !allowed.IsSet(cpu) {
				continue
			}
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Fatal(err)
			}
			again := h.send(frame(ip4(), segment{packet.TCPIP, packet.TCP(1000+client, 80, packet.ACK, nil, nil)}))
			if !maps.Equal(again.moved, opened.moved) {
				t.Errorf("on CPU %d a flow of %v goes to %v", cpu, opened.moved, again.moved)
			}
		}
	}
}
