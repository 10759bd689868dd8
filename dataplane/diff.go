package dataplane

import (
	"cmp"
	"maps"
	"slices"
)

// Problem is why a service cannot be as it is wanted. Such a service is left as
// it is held, and forwards by its old tables; the others do not wait for it.
type Problem struct {
	Service string
	Text    string // "there is no room for 65537 more slots, only for 13"
}

// Diff returns the steps from what is held to what is wanted. It changes
// neither. Stopped after any step, every packet goes where it went before or
// where it shall go, and another Diff continues. That is why the order is this,
// after the PutService of records that somebody deleted:
//
//  1. PutEgress: an interface can be sent to before a backend says to. PutNAT and
//     SeeNAT: connections can be made before a VIP asks for it.
//  2. PutService, of services that need an id: from now on their slots are
//     theirs, and backends can name a service that exists.
//  3. PutBackend: an index can be looked up before a slot names it; or a
//     PutQUICID, which comes next.
//  4. PutSlots, of services that lose no VIP: a table is complete before a VIP
//     points to it, and dead backends get no packets as soon as can be. Where
//     flows are to be kept, PutVIP before it lets the program look at phases;
//     PutConditions before it opens slots, whose owner is still their fallback;
//     PutConditions after it closes slots, whose owner is now their fallback or
//     whose fallback dies. No mark is taken away: see Settle.
//  5. PutAddress, so that what has no ports is told from the host's from the
//     first packet on; SeeWide and PutPrefix, which change nothing as long as a
//     prefix has no VIPs. PutVIP, which also moves VIPs from one table to another
//     without a gap: the most specific first, so that no packet is for a moment
//     that of a VIP between the one that it was for and the one that it will be for.
//  6. DeleteVIP, the least specific first for the same reason; then DeletePrefix
//     and DeleteAddress of those that no VIP has any more.
//  7. PutSlots, of services that only lose VIPs: what the VIP's packets did not
//     need in its last moment goes after it has gone.
//  8. DeleteService: no VIP leads there any more. Its slots name nobody first,
//     so that slots without a service never name a backend.
//  9. DeleteQUICID; then PutBackend of dead ones: neither names them any more.
//     Their indexes are not free: see Quarantine.
//  10. DeleteEgress: no backend is sent to there any more.
//
// PutSlots comes between two PutService if the service had a fingerprint: with
// the first it loses it, with the second it gets the new one. Otherwise, a table
// left half written would pass for the one that the old fingerprint names, if
// that came to be wanted again.
//
// An id, index or range of slots that these steps free is not used again in
// them: a packet on its way through the tables may still hold it.
func Diff(have *Tables, want State) ([]Step, []Problem) {
	want = flatten(want)
	lost, have := lostRecords(have, want)
	d := newDifference(have, want)
	d.doubted, d.nat, d.ingress = want.Doubted, want.NAT, want.Ingress
	d.plan(want)
	d.buildTables()
	d.pointVIPs(want)
	d.changePhases()
	return append(lost, d.steps()...), d.problems
}

// difference is what a Diff finds out on its way.
type difference struct {
	inventory
	room      room
	plans     []*plan          // of services that can be as wanted
	byName    map[string]*plan // the same
	kept      map[uint32]bool  // ids of services that are left as they are
	vips      map[VIP]VIPEntry // as they will be
	marked    map[VIP]VIPEntry // those in which the mark comes before all else
	unsettled map[lane]bool    // where the program will look at conditions
	second    uint32
	doubted   map[string]bool
	nat       NATSettings
	ingress   []uint32
	problems  []Problem
	scratch   []byte // of fingerprint
}

func newDifference(have *Tables, want State) *difference {
	held := takeInventory(have, mostlyKept(want))
	return &difference{
		inventory: held,
		room:      newRoom(have, held.serviceOf),
		byName:    make(map[string]*plan),
		kept:      make(map[uint32]bool),
		marked:    make(map[VIP]VIPEntry),
		unsettled: make(map[lane]bool),
		second:    want.Second,
	}
}

// mostlyKept tells whether hardly any service is to be looked at.
func mostlyKept(want State) bool {
	judged := 0
	for i := range want.Services {
		if !want.Services[i].Keep {
			judged++
		}
	}
	return judged*8 < len(want.Services)
}

// plan decides for each service whether it can be as wanted, and how.
func (d *difference) plan(want State) {
	owners := d.claims(want)
	seen := make(map[string]bool, len(want.Services))
	for i := range want.Services {
		service := &want.Services[i]
		problem := ""
		switch {
		case seen[service.Name]:
			problem = "another service has the same name"
		case service.Keep:
			d.keep(service.Name)
		default:
			problem = d.planService(service, owners, i)
		}
		if problem != "" {
			d.problems = append(d.problems, Problem{service.Name, problem})
			if !seen[service.Name] {
				d.keep(service.Name)
			}
		}
		seen[service.Name] = true
	}
}

func (d *difference) planService(s *Service, owners map[VIP]int, number int) (problem string) {
	if problem := s.invalid(); problem != "" {
		return problem
	}
	if problem := contested(s, owners, number); problem != "" {
		return problem
	}
	return d.fit(s)
}

// keep leaves a service as it is.
func (d *difference) keep(name string) {
	for _, id := range d.idsOf[name] {
		d.kept[id] = true
	}
}

// claims says which of the services that claim a VIP gets it, by index: the one
// that has it, else the first.
func (d *difference) claims(want State) map[VIP]int {
	owners := make(map[VIP]int)
	for i := range want.Services {
		for _, vip := range want.Services[i].VIPs {
			first, claimed := owners[vip]
			if !claimed || d.has(want.Services[i].Name, vip) && !d.has(want.Services[first].Name, vip) {
				owners[vip] = i
			}
		}
	}
	return owners
}

// has tells whether the VIP leads to the service now.
func (d *difference) has(service string, vip VIP) bool {
	entry, known := d.have.VIPs[vip]
	return known && d.have.Services[entry.Service].Name == service
}

// pointVIPs decides where every VIP will lead: to the service that wants it
// and can be as wanted, else where it leads now, if anybody wants it.
func (d *difference) pointVIPs(want State) {
	d.vips = make(map[VIP]VIPEntry, len(d.have.VIPs))
	for _, p := range d.plans {
		for _, vip := range p.want.VIPs {
			d.vips[vip] = p.vipEntry(vip.Protocol)
		}
	}
	stuck := d.stuckVIPs(want)
	for vip, entry := range d.have.VIPs {
		if _, settled := d.vips[vip]; settled {
			continue
		}
		if d.kept[entry.Service] {
			d.vips[vip] = entry
		} else if now := d.leadsTo(vip); stuck[vip] && now != nil {
			d.vips[vip] = now.vipEntry(vip.Protocol)
		}
	}
}

// stuckVIPs returns the VIPs that only services want which stay as they are.
// The services that they lead to now stay with them, even if unwanted.
func (d *difference) stuckVIPs(want State) map[VIP]bool {
	stuck := make(map[VIP]bool)
	for i := range want.Services {
		if d.byName[want.Services[i].Name] != nil {
			continue
		}
		for _, vip := range want.Services[i].VIPs {
			entry, known := d.have.VIPs[vip]
			if _, settled := d.vips[vip]; settled || !known {
				continue
			}
			stuck[vip] = true
			if d.leadsTo(vip) == nil {
				d.keep(d.have.Services[entry.Service].Name)
			}
		}
	}
	return stuck
}

// leadsTo returns the plan of the service that a VIP leads to now.
func (d *difference) leadsTo(vip VIP) *plan {
	return d.byName[d.have.Services[d.have.VIPs[vip].Service].Name]
}

// egress returns the interfaces that will be sent to.
func (d *difference) egress() map[uint32]bool {
	needed := make(map[uint32]bool)
	for _, p := range d.plans {
		last := uint32(0) // mostly they are all behind one interface
		for i := range p.want.Backends {
			if ifindex := p.want.Backends[i].Hop.Interface; ifindex != last {
				needed[ifindex] = true
				last = ifindex
			}
		}
	}
	for id := range d.kept {
		last := uint32(0)
		for i, index := range d.indexesOf[id] {
			if ifindex := d.reachedBy[index]; i == 0 || ifindex != last {
				needed[ifindex] = true
				last = ifindex
			}
		}
	}
	if d.hasNAT() {
		for _, ifindex := range d.ingress {
			needed[ifindex] = true
		}
	}
	return needed
}

// sorted returns the keys of a map in order, so that equal tables and wishes
// give equal steps.
func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
