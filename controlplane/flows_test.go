package controlplane

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

// flows plays what has to do with flows: the operator who drains, and the
// program that notes and remembers.
func (s *stage) flows(verb string, words []string, text string) {
	var err error
	switch verb {
	case "drain", "disable", "weight":
		weight := uint16(0)
		if verb == "weight" {
			fmt.Sscan(words[3], &weight)
		}
		_, err = s.daemon.Override(verb, api.OverrideRequest{Service: words[0], Address: words[1], TTL: words[2], Weight: weight, Reason: text}, "ada")
	case "undrain":
		_, err = s.daemon.Lift("drain", api.LiftRequest{Service: words[0], Address: words[1]}, "ada")
	case "enable":
		_, err = s.daemon.Lift("disable", api.LiftRequest{Service: words[0], Address: words[1]}, "ada")
	case "clear":
		_, err = s.daemon.Clear(api.ClearRequest{Service: words[0]}, "bob")
	case "dropped":
		n := uint64(0)
		fmt.Sscan(words[1], &n)
		var counters dataplane.Counters
		counters, err = s.plane.Counters()
		counters.Outcomes[words[0]] += n
		s.plane.SetCounters(counters)
	case "connection":
		s.connect(words)
	case "packets":
		s.plane.Change(func(tables *dataplane.Tables) { noteSeconds(tables, words[0], s.daemon.second()) })
	case "remember":
		seconds, n := uint32(0), 0
		fmt.Sscan(words[1]+" "+words[2], &seconds, &n)
		s.plane.Change(func(tables *dataplane.Tables) { remember(tables, words[0], s.daemon.second()+seconds, n) })
	}
	if err != nil {
		fmt.Fprintf(&s.log, "refused: %v\n", err)
	}
}

// connect lets one connection of nat be open: CLIENT VIP BACKEND SECONDS.
func (s *stage) connect(words []string) {
	seconds := uint32(0)
	fmt.Sscan(words[3], &seconds)
	c := dataplane.Connection{
		Protocol: dataplane.TCP, Client: netip.MustParseAddrPort(words[0]), VIP: netip.MustParseAddrPort(words[1]),
		Source: netip.MustParseAddrPort("10.20.0.1:1024"), Backend: netip.MustParseAddrPort(words[2]), State: "established",
		Begun: s.daemon.second(), Expires: s.daemon.second() + seconds,
	}
	tables, err := s.plane.Tables()
	if err != nil {
		s.t.Fatal(err)
	}
	for index, backend := range tables.Backends {
		if backend.ID.String() == words[2] {
			c.Index = index
		}
	}
	s.plane.SetConnections(c)
}

// connections are what an operator sees of them.
func (s *stage) connections() string {
	list, err := s.daemon.Flows(dataplane.PacketFilter{}, "", 0)
	if err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf("%d of %d\n", list.Total, list.Capacity)
	for _, f := range list.Flows {
		text += fmt.Sprintf("%s %s to %s of %s, from %s to %s, %s for %s\n", f.Protocol, f.Client, f.VIP, f.Service, f.Source, f.Backend, f.State, time.Until(f.Expires))
	}
	return text
}

// noteSeconds does what the program does when a packet goes elsewhere than to
// the owner of its slot.
func noteSeconds(tables *dataplane.Tables, vip string, second uint32) {
	for at, entry := range tables.VIPs {
		if at.String() != vip {
			continue
		}
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			if c := tables.Conditions.At(slot, at.Protocol); c.Phase == dataplane.Moving {
				c.Second = second
				tables.Conditions.Put(slot, at.Protocol, c)
			}
		}
	}
}

func remember(tables *dataplane.Tables, backend string, expires uint32, n int) {
	for index, entry := range tables.Backends {
		if entry.ID.String() != backend || entry.Dead {
			continue
		}
		for place := range tables.Flows {
			flow := uint64(dataplane.MakeFlow(uint64(place), index, false, expires))
			if n > 0 && atomic.CompareAndSwapUint64(&tables.Flows[place], 0, flow) {
				n--
			}
		}
	}
}

// leftOf is what a backend has beside its slots.
func leftOf(b api.Backend) string {
	text := ""
	if b.FallbackSlots > 0 {
		text += fmt.Sprintf(", fallback of %d", b.FallbackSlots)
	}
	if b.RememberedFlows > 0 {
		text += fmt.Sprintf(", %d flows", b.RememberedFlows)
	}
	if b.Drain != nil {
		text += fmt.Sprintf(", cut in %s", time.Until(b.Drain.CutAt))
		if b.Drain.Empty {
			text += ", empty"
		}
	}
	return text
}

func unsettledSlots(s api.ServiceBackends) string {
	var b strings.Builder
	for _, protocol := range []string{"tcp", "udp"} {
		if p := s.Phases[protocol]; p.Moving+p.Learning+p.Settling > 0 {
			fmt.Fprintf(&b, "  %s slots: %d settled, %d moving, %d learning, %d settling\n", protocol, p.Settled, p.Moving, p.Learning, p.Settling)
		}
	}
	return b.String()
}
