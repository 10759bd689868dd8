package dataplane_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// service is a service with a VIP of that number and backends of those numbers.
func service(name string, vip int, backends ...int) Service {
	s := Service{Name: name, Slots: 7, VIPs: []VIP{vipNumber(vip)}}
	for _, i := range backends {
		s.Backends = append(s.Backends, backendNumber(i))
	}
	return s
}

func with(s Service, change func(*Service)) Service {
	s.Backends = slices.Clone(s.Backends)
	change(&s)
	return s
}

// kinds names steps without their numbers: "+egress", "owners web", "-vip".
func kinds(steps []Step) string {
	var list []string
	for _, step := range steps {
		switch s := step.(type) {
		case PutEgress:
			list = append(list, "+egress")
		case PutService:
			kind := "seal "
			if s.Entry.Fingerprint == 0 {
				kind = "open "
			}
			list = append(list, kind+s.Entry.Name)
		case PutBackend:
			kind := "change "
			if s.New {
				kind = "add "
			} else if s.Entry.Dead {
				kind = "bury "
			}
			list = append(list, kind+s.Entry.ID.String())
		case PutSlots:
			list = append(list, "owners "+s.Name)
		case PutConditions:
			list = append(list, "phases "+s.Name)
		case PutAddress:
			list = append(list, "+address")
		case DeleteAddress:
			list = append(list, "-address")
		case PutVIP:
			list = append(list, "+vip")
		case DeleteVIP:
			list = append(list, "-vip")
		case DeleteService:
			list = append(list, "-service")
		case DeleteBackend:
			list = append(list, "-backend")
		case DeleteEgress:
			list = append(list, "-egress")
		}
	}
	return strings.Join(list, ", ")
}

func TestDiff(t *testing.T) {
	web := service("web", 0, 0, 3)
	for _, row := range []struct {
		promise    string
		have, want []Service
		steps      string
	}{
		{"nothing held and nothing wanted: nothing to do", nil, nil, ""},
		{"what is held as wanted is left alone", []Service{web}, []Service{web}, ""},
		{"a new service gets its VIP last",
			nil, []Service{web},
			"+egress, open web, add 10.0.0.0, add 2001:db8:1::3, owners web, seal web, +address, +vip"},
		{"a service that goes loses its VIP first and its egress last",
			[]Service{web}, nil,
			"-vip, -address, open web, owners web, -service, bury 10.0.0.0, bury 2001:db8:1::3, -egress"},
		{"a backend that comes is there before a slot names it, and the phases before the owners",
			[]Service{web}, []Service{service("web", 0, 0, 1, 3)},
			"+egress, add 10.0.0.1, +vip, phases web, open web, owners web, seal web"},
		{"a backend that comes where no flow is to be remembered gets its slots at once",
			[]Service{never(web)}, []Service{never(service("web", 0, 0, 1, 3))},
			"+egress, add 10.0.0.1, open web, owners web, seal web"},
		{"a backend that goes is buried when no slot names it, and its flows are lost: no phases",
			[]Service{web}, []Service{service("web", 0, 0)},
			"open web, owners web, seal web, bury 2001:db8:1::3"},
		{"one that goes for one that comes: whoever stays keeps the flows of its slots",
			[]Service{web}, []Service{service("web", 0, 0, 6)},
			"add 10.0.0.6, +vip, phases web, open web, owners web, seal web, bury 2001:db8:1::3"},
		{"a service without backends stays, with slots that nobody owns",
			[]Service{service("web", 0, 0)}, []Service{service("web", 0)},
			"open web, owners web, seal web, bury 10.0.0.0, -egress"},
		{"a backend of weight zero keeps its index and its flows, and loses its slots",
			[]Service{web}, []Service{with(web, func(s *Service) { s.Backends[0].Weight = 0 })},
			"+vip, phases web, open web, owners web, seal web"},
		{"TCP and UDP have phases of their own",
			[]Service{with(web, func(s *Service) { s.VIPs = append(s.VIPs, vipNumber(2)) })},
			[]Service{with(web, func(s *Service) { s.VIPs, s.Backends[0].Weight = append(s.VIPs, vipNumber(2)), 0 })},
			"+vip, +vip, phases web, phases web, open web, owners web, seal web"},
		{"a VIP that is to go is marked, too: until then its flows are where they were",
			[]Service{with(web, func(s *Service) { s.VIPs = append(s.VIPs, vipNumber(4)) })},
			[]Service{with(web, func(s *Service) { s.Backends[0].Weight = 0 })},
			"+vip, +vip, -vip, -address, phases web, open web, owners web, seal web"},
		{"a VIP of a protocol that had none finds its slots settled, though they change owners at once",
			[]Service{web},
			[]Service{with(web, func(s *Service) { s.VIPs, s.Backends[0].Weight = append(s.VIPs, vipNumber(2)), 0 })},
			"+vip, phases web, open web, owners web, seal web, +address, +vip"},
		{"another idle timeout is a matter of the VIP",
			[]Service{web}, []Service{with(web, func(s *Service) { s.IdleTCP = 5 })},
			"+vip"},
		{"a new backend of weight zero is known and owns nothing",
			[]Service{web}, []Service{with(web, func(s *Service) {
				b := backendNumber(6)
				b.Weight = 0
				s.Backends = append(s.Backends, b)
			})},
			"add 10.0.0.6"},
		{"weights in the same proportion move no slot",
			[]Service{web}, []Service{with(web, func(s *Service) { s.Backends[0].Weight, s.Backends[1].Weight = 5, 5 })},
			"seal web"},
		{"another next hop rewrites one entry and touches no slot",
			[]Service{web}, []Service{with(web, func(s *Service) { s.Backends[0].Hop.NextHopMAC[0] = 2 })},
			"change 10.0.0.0"},
		{"another way of forwarding rewrites one entry and touches no slot",
			[]Service{web}, []Service{with(web, func(s *Service) { s.Backends[0].Forward = L2 })},
			"change 10.0.0.0"},
		{"a backend that moves behind another interface can be sent to all the time",
			[]Service{service("web", 0, 0)}, []Service{with(service("web", 0, 0), func(s *Service) { s.Backends[0].Hop.Interface = 9 })},
			"+egress, change 10.0.0.0, -egress"},
		{"the order of backends does not matter",
			[]Service{web}, []Service{with(web, func(s *Service) { slices.Reverse(s.Backends) })},
			""},
		{"another number of slots is a new table, to which the VIP moves when it is full",
			[]Service{web}, []Service{with(web, func(s *Service) { s.Slots = 13 })},
			"open web, change 10.0.0.0, change 2001:db8:1::3, owners web, seal web, +vip, open web, owners web, -service"},
		{"a VIP moves from one service to another in one step",
			[]Service{web, service("zeta", 1, 0)},
			[]Service{with(web, func(s *Service) { s.VIPs = nil }), with(service("zeta", 1, 0), func(s *Service) { s.VIPs = append(s.VIPs, vipNumber(0)) })},
			"+vip"},
		{"a service that is renamed hands its VIP over when the new one is complete",
			[]Service{web}, []Service{with(web, func(s *Service) { s.Name = "www" })},
			"open www, add 10.0.0.0, add 2001:db8:1::3, owners www, seal www, +vip, open web, owners web, -service, bury 10.0.0.0, bury 2001:db8:1::3"},
		{"a service that loses its VIP and its backends loses the VIP first",
			[]Service{service("web", 0, 0), service("zeta", 1, 0)},
			[]Service{with(service("web", 0), func(s *Service) { s.VIPs = nil }), with(service("zeta", 1, 0), func(s *Service) { s.VIPs = append(s.VIPs, vipNumber(0)) })},
			"+vip, open web, owners web, seal web, bury 10.0.0.0"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			have := NewTables(roomy, 100)
			bring(t, have, State{Services: row.have})
			before := have.Clone()
			steps, problems := Diff(have, State{Services: row.want})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := kinds(steps); got != row.steps {
				t.Errorf("got  %s\nwant %s", got, row.steps)
			}
			if fmt.Sprint(before) != fmt.Sprint(have) {
				t.Error("Diff changed the tables")
			}
			checkPrefixes(t, have, State{Services: row.want}, State{Services: row.have})
		})
	}
}

func never(s Service) Service {
	return with(s, func(s *Service) { s.Tracking = TrackNever })
}

func TestABackendKeepsItsIndexWhileItsServiceKnowsIt(t *testing.T) {
	have := NewTables(roomy, 100)
	bring(t, have, State{Services: []Service{service("web", 0, 0, 1, 2)}})
	before := indexOf(have, backendNumber(1).ID)
	for _, want := range []Service{
		service("web", 0, 1, 2),
		service("web", 4, 5, 1),
		with(service("web", 0, 1), func(s *Service) { s.Slots = 13 }),
		with(service("web", 0, 1), func(s *Service) { s.Backends[0].Weight = 0 }),
		with(service("web", 0, 7, 1), func(s *Service) { s.Backends[1].Forward = L2 }),
	} {
		bring(t, have, State{Services: []Service{want}})
		if now := indexOf(have, backendNumber(1).ID); now != before {
			t.Errorf("index %d became %d", before, now)
		}
	}
}

func TestWhatADiffFreesItDoesNotGiveOutAgain(t *testing.T) {
	have := NewTables(roomy, 100)
	bring(t, have, State{Services: []Service{service("web", 0, 0, 1)}})
	old := have.Clone()
	bring(t, have, State{Services: []Service{service("zeta", 0, 0, 1)}})
	for index, entry := range have.Backends {
		if _, used := old.Backends[index]; used && !entry.Dead {
			t.Errorf("backend index %d was given out again", index)
		}
	}
	for id, entry := range have.Services {
		if was, used := old.Services[id]; used || entry.FirstSlot < was.FirstSlot+was.SlotCount {
			t.Errorf("service %d was given %+v again", id, entry)
		}
	}
}

func TestAFreedIndexRestsWhileOthersAreFree(t *testing.T) {
	have := NewTables(roomy, 100)
	bring(t, have, State{Services: []Service{service("web", 0, 0, 1, 2)}})
	freed := indexOf(have, backendNumber(0).ID)
	bring(t, have, State{Services: []Service{service("web", 0, 1, 2)}})
	release(have)
	bring(t, have, State{Services: []Service{service("web", 0, 1, 2, 5)}})
	if now := indexOf(have, backendNumber(5).ID); now == freed {
		t.Errorf("index %d was given out at once", now)
	}
}

func TestAFullBackendTableIsUsedToTheLastIndex(t *testing.T) {
	have := NewTables(Limits{Services: 2, VIPs: 2, Backends: 4}, 100)
	bring(t, have, State{Services: []Service{service("web", 0, 0, 1, 2)}})
	bring(t, have, State{Services: []Service{service("web", 0, 1, 2)}})
	release(have)
	bring(t, have, State{Services: []Service{service("web", 0, 1, 2, 5)}})
}

// release frees the indexes of dead backends, as if nothing named them.
func release(have *Tables) {
	var quarantine Quarantine
	for second := range uint32(2) {
		for _, step := range quarantine.Release(have, Census{}, 100*second) {
			step.Replay(have)
		}
	}
}

// indexOf is the index of a living backend.
func indexOf(have *Tables, id ID) uint32 {
	for index, entry := range have.Backends {
		if entry.ID == id && !entry.Dead {
			return index
		}
	}
	return NoBackend
}

func TestStepsReadAsSentences(t *testing.T) {
	entry := ServiceEntry{Name: "web", FirstSlot: 7, SlotCount: 7}
	sealed := entry
	sealed.Fingerprint = 0xabc
	backend := BackendEntry{Service: 1, ID: ID{netip.MustParseAddr("2001:db8::1"), 80}, Forward: IPIP, Hop: Hop{Interface: 3}}
	tomb := BackendEntry{Service: 1, ID: backend.ID, Forward: IPIP, Dead: true}
	vip := VIP{Addr: netip.MustParseAddr("192.0.2.10"), Port: 443, Protocol: TCP}
	lead := VIPEntry{Service: 1, FirstSlot: 7, SlotCount: 7}
	unsettled := lead
	unsettled.Unsettled = true
	for _, row := range []struct {
		step Step
		text string
	}{
		{PutEgress{3}, "allow egress to interface 3"},
		{DeleteEgress{3}, "end egress to interface 3"},
		{PutBackend{5, backend, true}, "add backend 5: [2001:db8::1]:80 of service 1 by ipip via interface 3"},
		{PutBackend{5, backend, false}, "rewrite backend 5: [2001:db8::1]:80 of service 1 by ipip via interface 3"},
		{PutBackend{5, tomb, false}, "bury backend 5: [2001:db8::1]:80 of service 1"},
		{DeleteBackend{5}, "free backend 5"},
		{PutService{1, entry}, "open slots 7 to 13 of web, service 1"},
		{PutService{1, sealed}, "seal the slots of web, service 1, as 0000000000000abc"},
		{DeleteService{1}, "free service 1 and its slots"},
		{PutSlots{"web", make([]SlotOwner, 2)}, "give 2 slots of web their owners"},
		{PutConditions{"web", make([]SlotCondition, 2)}, "change the phase of 2 slots of web"},
		{PutVIP{vip, lead}, "point 192.0.2.10:443/tcp at the 7 slots from 7 of service 1"},
		{PutVIP{vip, unsettled}, "point 192.0.2.10:443/tcp at the 7 slots from 7 of service 1, minding their phases"},
		{PutAddress{vip.Addr}, "claim the address 192.0.2.10"},
		{DeleteAddress{vip.Addr}, "hand the address 192.0.2.10 back to the host"},
		{DeleteVIP{vip}, "hand 192.0.2.10:443/tcp back to the host"},
	} {
		if row.step.String() != row.text {
			t.Errorf("got %q, want %q", row.step, row.text)
		}
	}
}
