package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

func TestAKeptServiceStaysAsItIs(t *testing.T) {
	vip := dataplane.VIP{Addr: netip.MustParseAddr("192.0.2.10"), Port: 443, Protocol: dataplane.TCP}
	web := dataplane.Service{
		Name: "web", VIPs: []dataplane.VIP{vip}, Slots: 251,
		Backends: []dataplane.Backend{{
			ID: dataplane.ID{Addr: netip.MustParseAddr("10.20.0.11")}, Weight: 1, Forward: dataplane.IPIP,
			Hop: dataplane.Hop{Interface: 2, Source: netip.MustParseAddr("10.20.0.1"), MTU: 1500},
		}},
	}
	kernel := fake.New(dataplane.Limits{Services: 8, VIPs: 8, Backends: 8}, 1024)
	have, err := kernel.Tables()
	if err != nil {
		t.Fatal(err)
	}
	steps, problems := dataplane.Diff(have, dataplane.State{Services: []dataplane.Service{web}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := dataplane.Apply(have, steps, kernel); err != nil {
		t.Fatal(err)
	}

	kept := dataplane.Service{Name: "web", VIPs: []dataplane.VIP{vip}, Slots: 65537, Keep: true}
	for promise, want := range map[string][]dataplane.Service{
		"though no backend is named":         {kept},
		"though another service wants to go": {kept, {Name: "dns", Keep: true}},
	} {
		if steps, problems := dataplane.Diff(have, dataplane.State{Services: want}); len(steps)+len(problems) > 0 {
			t.Errorf("%s: %v %v", promise, steps, problems)
		}
	}
	renamed := dataplane.Service{Name: "www", VIPs: []dataplane.VIP{vip}, Slots: 251, Keep: true}
	if steps, _ := dataplane.Diff(have, dataplane.State{Services: []dataplane.Service{renamed}}); len(steps) > 0 {
		t.Errorf("though its VIP will be another's, who is not ready: %v", steps)
	}
}
