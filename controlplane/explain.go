package controlplane

import (
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// Explain says which backend a client's packets to a destination get, and why, by
// what the kernel holds at this moment.
func (d *daemon) Explain(client netip.AddrPort, to dataplane.VIP) (explained api.Explanation, err error) {
	p := d.published.Load()
	second := d.second()
	err = d.plane.Look(second, func(tables *dataplane.Tables, connections iter.Seq[dataplane.Connection]) error {
		hash := dataplane.NewHash(d.hashSecret)
		e, found := tables.Explain(&hash, client, to, second)
		if !found {
			return p.notForAVIP(to)
		}
		if e.Entry.NAT {
			e = e.Connected(tables, connectionOf(connections, client, to))
		}
		explained = p.explanation(tables, e, client, to)
		return nil
	})
	return explained, err
}

// connectionOf finds a client's connection; nil if there is none.
func connectionOf(connections iter.Seq[dataplane.Connection], client netip.AddrPort, to dataplane.VIP) *dataplane.Connection {
	for c := range connections {
		if c.Client == client && c.VIP == netip.AddrPortFrom(to.Addr, to.Port) && c.Protocol == to.Protocol && !c.Retired {
			return &c
		}
	}
	return nil
}

func (p *page) notForAVIP(to dataplane.VIP) error {
	var names []string
	for _, s := range p.report.Services {
		for _, vip := range s.VIPs {
			names = append(names, vip.String())
		}
	}
	return refusal(http.StatusNotFound, "%s is no VIP: its packets are the host's, PASS_NOT_VIP%s", to, nearest(to.String(), names))
}

func (p *page) explanation(tables *dataplane.Tables, e dataplane.Explanation, client netip.AddrPort, to dataplane.VIP) api.Explanation {
	name := tables.Services[e.Entry.Service].Name
	service, _ := p.report.Service(name)
	view := api.Explanation{
		SchemaVersion: api.SchemaVersion,
		Protocol:      to.Protocol.String(), Client: client.String(), To: netip.AddrPortFrom(to.Addr, to.Port).String(),
		VIP: listed(service.VIPs, e.VIP, to).String(), Service: name, Forward: service.Forward.String(),
		SlotFrom: "5-tuple", Slot: e.Slot, Slots: e.Entry.SlotCount, Phase: e.Condition.Phase.String(),
		Owner: explainedBackend(tables, service, e.Owner), Fallback: explainedBackend(tables, service, e.Condition.Fallback),
		Remembered: explainedBackend(tables, service, e.Remembered.Backend()),
		Notes:      []string{},
	}
	if e.Entry.AffinityClient {
		view.SlotFrom = "client address"
	}
	if e.Entry.QUIC.Length > 0 {
		view.Notes = append(view.Notes, "a QUIC packet whose connection ID names a backend goes there instead")
	}
	if e.NewFlow == e.Later {
		view.Packets = []api.ExplainedPacket{explainedPacket(tables, service, "any", e.Later)}
	} else {
		view.Packets = []api.ExplainedPacket{
			explainedPacket(tables, service, "syn", e.NewFlow), explainedPacket(tables, service, "other", e.Later),
		}
	}
	return view
}

// listed is the VIP of the file that a packet is for: the narrowest that holds it.
// The tables may have but a block of that.
func listed(vips []dataplane.VIP, inTables, to dataplane.VIP) dataplane.VIP {
	var holding []dataplane.VIP
	for _, vip := range vips {
		if vip.Covers(to) {
			holding = append(holding, vip)
		}
	}
	if len(holding) == 0 {
		return inTables
	}
	return slices.MinFunc(holding, dataplane.VIP.CompareWidth)
}

func explainedBackend(tables *dataplane.Tables, service desired.ServiceReport, index uint32) *api.ExplainedBackend {
	entry, known := tables.Backends[index]
	if index == dataplane.NoBackend || !known {
		return nil
	}
	view := &api.ExplainedBackend{Address: entry.ID.String(), State: "gone", NextHop: nextHop(entry.Hop)}
	for _, b := range service.Backends {
		if b.Key == entry.ID {
			view.Address, view.State = address(b), string(b.State)
		}
	}
	return view
}

// whyInWords are the rules of the table of phases.
var whyInWords = map[dataplane.Why]string{
	dataplane.ByOwner:      "it owns the slot",
	dataplane.ByNewOwner:   "it owns the slot now, and there is room to remember that the flow is its own",
	dataplane.ByFullTable:  "the flow table has no room for the flow, so it goes where a forgotten flow would",
	dataplane.ByRemembered: "the flow is remembered there",
	dataplane.ByFallback:   "nobody remembers the flow, so it began before the slot moved away from there",
	dataplane.ByLearning:   "the slot moves away from there once its flows are remembered",

	dataplane.ByConnection:   "its connection is with that backend",
	dataplane.ByNoConnection: "it is of no connection that is known here",
}

func explainedPacket(tables *dataplane.Tables, service desired.ServiceReport, kind string, c dataplane.Choice) api.ExplainedPacket {
	p := api.ExplainedPacket{
		Kind: kind, Outcome: "FORWARD", Rule: string(c.Why), Why: whyInWords[c.Why],
		Backend: explainedBackend(tables, service, c.Backend),
	}
	switch {
	case p.Backend != nil:
	case c.Why == dataplane.ByConnection:
		p.Outcome, p.Why = "DROP_NO_CONNECTION", "the backend of its connection is gone"
	case c.Why == dataplane.ByNoConnection:
		p.Outcome = "DROP_NO_CONNECTION"
	default:
		p.Outcome, p.Why = "DROP_NO_BACKEND", fmt.Sprintf("no backend of %s lives that could take it", service.Name)
	}
	return p
}
