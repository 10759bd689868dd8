package dataplane_test

import (
	"fmt"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// mixed says which VIP's packets could meet a backend that is not of its kind, or
// make a connection whose answers nobody would look for or could send on.
func mixed(now *Tables) string {
	for vip, entry := range now.VIPs {
		if entry.NAT && (!now.SeesNAT || now.NAT.Ports == 0 || !now.Egress[clientsAt]) {
			return fmt.Sprintf("%s is of nat, which nothing is ready for: %t, %+v, %v", vip, now.SeesNAT, now.NAT, now.Egress)
		}
		for _, owner := range now.Slots[entry.FirstSlot:][:entry.SlotCount] {
			backend, known := now.Backends[owner]
			if known && !backend.Dead && (backend.Forward == NAT) != entry.NAT {
				return fmt.Sprintf("%s is of nat: %t, and leads to %s by %s", vip, entry.NAT, backend.ID, backend.Forward)
			}
		}
	}
	return ""
}

func TestConnectionsOutliveTheirVIP(t *testing.T) {
	have := NewTables(roomy, 500)
	backend := backendNumber(1)
	want := State{NAT: DefaultNATSettings(), Ingress: []uint32{clientsAt}, Services: []Service{
		toNAT(Service{Name: "web", VIPs: []VIP{vipNumber(2)}, Slots: 7, Backends: []Backend{backend}}),
	}}
	steps, _ := Diff(have, want)
	have = replay(have, steps)
	want.Services = nil
	steps, _ = Diff(have, want)
	if have = replay(have, steps); !have.SeesNAT || len(have.VIPs) > 0 {
		t.Errorf("the program looks for answers: %t; VIPs: %v", have.SeesNAT, have.VIPs)
	}
}
