package dataplane_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

func TestAServiceWithAProblemStaysAsItIsAndHoldsUpNobody(t *testing.T) {
	tight := Limits{Services: 3, VIPs: 3, Backends: 6}
	web, zeta := service("web", 0, 0, 1), service("zeta", 1, 2)
	mapped := netip.MustParseAddr("::ffff:10.0.0.1")
	for _, row := range []struct {
		promise string
		web     Service // as wanted
		text    string
	}{
		{"more backends than there is room for", service("web", 0, 0, 1, 2, 3, 4, 5, 6), "no room for 5 more backends, only for 2"},
		{"more VIPs than there is room for", with(web, func(s *Service) { s.VIPs = []VIP{vipNumber(3), vipNumber(4), vipNumber(5)} }), "no room for 3 more VIPs, only for 1"},
		{"more slots than there is room for", with(web, func(s *Service) { s.Slots = 31 }), "no room for 31 more slots"},
		{"a number of slots that is no prime", with(web, func(s *Service) { s.Slots = 8 }), "8, is not a prime"},
		{"no slots", with(web, func(s *Service) { s.Slots = 0 }), "0, is not a prime"},
		{"a VIP that another service has", with(web, func(s *Service) { s.VIPs = []VIP{vipNumber(1)} }), "VIP [2001:db8::1]:443/tcp belongs to another service"},
		{"a VIP that cannot be read back", with(web, func(s *Service) { s.VIPs = []VIP{{Addr: mapped, Port: 80, Protocol: TCP}} }), "not a plain address"},
		{"a backend twice", service("web", 0, 1, 0, 1), "backend 10.0.0.1 is there twice"},
		{"a backend without an address", with(web, func(s *Service) { s.Backends[0].Addr = netip.Addr{} }), "has no plain address"},
		{"a backend without an interface", with(web, func(s *Service) { s.Backends[0].Hop.Interface = 0 }), "has no egress interface"},
		{"a backend with an inner tag alone", with(web, func(s *Service) { s.Backends[0].Hop.VLAN = [2]uint16{1: 200} }), "an inner VLAN tag and no outer one"},
		{"a backend of too much weight", with(web, func(s *Service) { s.Backends[0].Weight = 257 }), "has weight 257"},
		{"a backend forwarded to in no known way", with(web, func(s *Service) { s.Backends[0].Forward = 0 }), "cannot be forwarded to"},
		{"a tunnel without a source", with(web, func(s *Service) { s.Backends[0].Hop.Source = netip.Addr{} }), "no outer source"},
		{"a tunnel with a source of the other family", with(web, func(s *Service) { s.Backends[0].Hop.Source = netip.IPv6Loopback() }), "no outer source"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			have := NewTables(tight, 40)
			bring(t, have, State{Services: []Service{web, zeta}})
			changed := with(zeta, func(s *Service) { s.Backends[0].Weight = 0 })
			want := State{Services: []Service{row.web, changed}}
			steps, problems := Diff(have, want)
			if len(problems) != 1 || problems[0].Service != "web" || !strings.Contains(problems[0].Text, row.text) {
				t.Fatalf("got the problems %q", problems)
			}
			after := replay(have, steps)
			checkKept(t, have, after, "web")
			checkService(t, after, changed)
			if after.VIPs[vipNumber(0)] != have.VIPs[vipNumber(0)] {
				t.Error("the VIP of web was touched")
			}
			if more, _ := Diff(after, want); len(more) > 0 {
				t.Errorf("the next Diff wants\n%s", listed(more))
			}
		})
	}
}

func TestANewServiceThatDoesNotFitIsAProblemOfItsOwn(t *testing.T) {
	zeta := service("zeta", 1, 2)
	for _, row := range []struct {
		promise string
		first   Service
		text    string
	}{
		{"no id is left", service("more", 2, 3), "no room for another service: all 1"},
		{"its name is too long", service(strings.Repeat("a", 64), 2, 3), "has 64 bytes"},
		{"it has no name", service("", 2, 3), "has 0 bytes"},
		{"its name has a zero byte", service("a\x00", 2, 3), "zero byte"},
		{"its name is taken", zeta, "same name"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			have := NewTables(Limits{Services: 1, VIPs: 9, Backends: 9}, 40)
			bring(t, have, State{Services: []Service{zeta}})
			steps, problems := Diff(have, State{Services: []Service{zeta, row.first}})
			if len(problems) != 1 || !strings.Contains(problems[0].Text, row.text) {
				t.Errorf("got the problems %q", problems)
			}
			if len(steps) > 0 {
				t.Errorf("got the steps\n%s", listed(steps))
			}
		})
	}
}

func TestAVIPClaimedTwiceStaysWithWhoHasIt(t *testing.T) {
	have := NewTables(roomy, 100)
	bring(t, have, State{Services: []Service{service("web", 0, 0)}})
	_, problems := Diff(have, State{Services: []Service{service("api", 0, 1), service("web", 0, 0)}})
	if len(problems) != 1 || problems[0].Service != "api" {
		t.Errorf("got the problems %q", problems)
	}
	_, problems = Diff(NewTables(roomy, 100), State{Services: []Service{service("api", 0, 1), service("web", 0, 0)}})
	if len(problems) != 1 || problems[0].Service != "web" {
		t.Errorf("with nobody who has it, got the problems %q", problems)
	}
}

func TestAVIPStaysWhereItLeadsUntilItsNewServiceFits(t *testing.T) {
	for _, row := range []struct {
		promise string
		want    []Service
	}{
		{"though its old service is wanted no more", []Service{service("zeta", 0, 1)}},
		{"though its old service is wanted without it", []Service{with(service("web", 0, 0), func(s *Service) { s.VIPs = nil }), service("zeta", 0, 1)}},
	} {
		t.Run(row.promise, func(t *testing.T) {
			have := NewTables(roomy, 13)
			bring(t, have, State{Services: []Service{service("web", 0, 0)}})
			steps, problems := Diff(have, State{Services: row.want})
			if len(problems) != 1 || problems[0].Service != "zeta" {
				t.Fatalf("got the problems %q", problems)
			}
			if len(steps) > 0 {
				t.Errorf("got the steps\n%s", listed(steps))
			}
		})
	}
}

func TestAVIPWhoseNewServiceDoesNotFitFollowsItsOldOneToOtherSlots(t *testing.T) {
	have := NewTables(roomy, 20)
	bring(t, have, State{Services: []Service{service("web", 0, 0)}})
	moved := with(service("web", 0, 0), func(s *Service) { s.VIPs, s.Slots = nil, 13 })
	want := State{Services: []Service{moved, service("zeta", 0, 1)}}
	steps, problems := Diff(have, want)
	if len(problems) != 1 || problems[0].Service != "zeta" {
		t.Fatalf("got the problems %q", problems)
	}
	after := replay(have, steps)
	if lead := after.VIPs[vipNumber(0)]; lead.SlotCount != 13 || after.Services[lead.Service].Name != "web" {
		t.Errorf("the VIP leads to %+v", lead)
	}
	bring(t, after, want) // the slots that were freed are enough for zeta now
	checkService(t, after, want.Services[1])
}

func TestProblemsComeInTheOrderOfServices(t *testing.T) {
	var want State
	for _, name := range []string{"a", "b", "c"} {
		want.Services = append(want.Services, with(service(name, 0, 1), func(s *Service) { s.Slots = 8 }))
	}
	_, problems := Diff(NewTables(roomy, 100), want)
	if !slices.IsSortedFunc(problems, func(a, b Problem) int { return strings.Compare(a.Service, b.Service) }) || len(problems) != 3 {
		t.Errorf("got %q", problems)
	}
}
