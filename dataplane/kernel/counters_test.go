package kernel

import (
	"maps"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedCountersSayPacketsBytesAndNewFlows(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	index, _ := onlyBackend(t, h)
	h.send(flow{protocol: dataplane.TCP, size: 100}.frame())           // a SYN of 140 bytes
	h.send(flow{protocol: dataplane.TCP, ack: true, size: 60}.frame()) // 100
	h.send(flow{protocol: dataplane.UDP, v6: true, size: 152}.frame()) // 200
	h.send(frame(ip4(), tcpTo(80, packet.SYN|packet.ACK, 64)))         // 104, no new flow
	counters, err := h.plane.Counters()
	if err != nil {
		t.Fatal(err)
	}
	want := dataplane.BackendCounters{Packets: 4, Bytes: 140 + 100 + 200 + 104, NewFlows: 1}
	if got := counters.Backends[index]; got != want {
		t.Errorf("counters are %+v, want %+v", got, want)
	}
}

func TestPrivilegedForwardedPacketsStayCountedWhenTheirBackendGoes(t *testing.T) {
	h := newHarness(t)
	web := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
	h.want(web)
	index, _ := onlyBackend(t, h)
	for range 3 {
		h.send(flow{protocol: dataplane.TCP}.frame())
	}
	h.want()
	h.apply(dataplane.DeleteBackend{Index: index})
	h.want(web)
	h.send(flow{protocol: dataplane.TCP}.frame())
	counters, err := h.plane.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if got := counters.Outcomes["FORWARD"]; got != 4 {
		t.Errorf("%d packets were forwarded, want 4", got)
	}
}

// onlyBackend is the one living backend that the kernel holds, as the kernel says.
func onlyBackend(t *testing.T, h *harness) (uint32, dataplane.BackendEntry) {
	t.Helper()
	tables, err := h.plane.Tables()
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(tables.Backends, func(_ uint32, entry dataplane.BackendEntry) bool { return entry.Dead })
	if len(tables.Backends) != 1 {
		t.Fatalf("the kernel holds %d living backends, want 1", len(tables.Backends))
	}
	for index, entry := range tables.Backends {
		return index, entry
	}
	return 0, dataplane.BackendEntry{}
}
