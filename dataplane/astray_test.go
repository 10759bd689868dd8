package dataplane

import (
	"net/netip"
	"testing"
)

func TestSlotsThatSomeoneOverwroteAreFoundAndMended(t *testing.T) {
	have := NewTables(Limits{Services: 4, VIPs: 4, Backends: 16}, 1024)
	service := Service{Name: "web", Slots: 251, VIPs: []VIP{{Addr: netip.MustParseAddr("192.0.2.1"), Port: 80, Protocol: TCP}}}
	for host := range 3 {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + host)})
		service.Backends = append(service.Backends, Backend{ID: ID{Addr: addr}, Weight: 1, Forward: L2, Hop: Hop{Interface: 2, MTU: 1500}})
	}
	want := State{Services: []Service{service}}
	mend := func() int {
		steps, problems := Diff(have, want)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, step := range steps {
			step.Replay(have)
		}
		return len(steps)
	}
	mend()
	always := func() bool { return true }
	if checked, wrong := Astray(have, want.Services, always); checked != 1 || wrong != nil {
		t.Fatalf("before anything was done: %d, %v", checked, wrong)
	}
	right := have.Slots[7]
	have.Slots[7], have.Slots[8] = 0, right%3+1
	if _, wrong := Astray(have, want.Services, always); wrong["web"] == 0 {
		t.Error("nothing is wrong with the slots")
	}
	if steps := mend(); steps > 0 {
		t.Error("a fingerprint should pass for the table unless it is doubted")
	}
	want.Doubted = map[string]bool{"web": true}
	mend()
	if _, wrong := Astray(have, want.Services, always); wrong != nil || have.Slots[7] != right {
		t.Errorf("it was not mended: %v", wrong)
	}
}
