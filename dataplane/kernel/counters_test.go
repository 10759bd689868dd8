package kernel

import (
	"maps"
	"slices"
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

func TestPrivilegedAPacketThatGoesNowhereIsCountedWithItsService(t *testing.T) {
	h := newHarness(t)
	web, dead := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)), serviceOn("dead")
	for i := range dead.VIPs {
		dead.VIPs[i].Port = 81
	}
	h.want(web, dead)
	h.send(flow{protocol: dataplane.TCP}.frame()) // goes somewhere
	h.send(frame(ip4(), tcpTo(80, packet.SYN|0x01, 64)))
	for range 2 {
		h.send(flow{protocol: dataplane.TCP, ack: true}.at(81).frame())
	}
	h.send(flow{protocol: dataplane.UDP, v6: true}.at(81).frame())
	h.send(flow{protocol: dataplane.TCP}.at(7).frame()) // nobody's
	h.wantDropped(map[string]map[string]uint64{"web": {"DROP_BAD_FLAGS": 1}, "dead": {"DROP_NO_BACKEND": 3}})

	dead.Name = "other"
	h.want(web)
	h.want(web, dead)
	h.send(flow{protocol: dataplane.TCP, ack: true}.at(81).frame())
	h.wantDropped(map[string]map[string]uint64{"web": {"DROP_BAD_FLAGS": 1}, "other": {"DROP_NO_BACKEND": 1}})
}

// wantDropped looks at what is counted by service.
func (h *harness) wantDropped(want map[string]map[string]uint64) {
	h.t.Helper()
	counters, err := h.plane.Counters()
	if err != nil {
		h.t.Fatal(err)
	}
	got := map[string]map[string]uint64{}
	for id, service := range h.tables.Services {
		got[service.Name] = counters.Dropped[id]
	}
	if !maps.EqualFunc(got, want, maps.Equal) {
		h.t.Errorf("of services were dropped %v, want %v", got, want)
	}
}

func TestDropsOfAServiceGoToWhereTheirOutcomesAre(t *testing.T) {
	h := takeover{
		from: &generation{outcomes: []string{"FORWARD", "DROP_OLD", "DROP_LOOP", "DROP_TTL"}},
		to:   &generation{outcomes: []string{"FORWARD", "PASS_NEW", "DROP_TTL", "DROP_LOOP"}},
		lost: map[string]int{},
	}
	if got := h.byOutcomeOf("a service")([]uint64{0, 7, 2, 3}); !slices.Equal(got, []uint64{0, 0, 3, 2}) {
		t.Errorf("the sums are %v", got)
	}
	if want := "the counter DROP_OLD of a service (7)"; h.lost[want] != 1 {
		t.Errorf("it does not say that %s is lost: %v", want, h.lost)
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
