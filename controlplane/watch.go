package controlplane

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

// tellMissedEvery is how long a listener waits to hear that it misses drops.
const tellMissedEvery = time.Second

// Drops tells of each packet that is dropped, until the context is over. It
// begins by telling of nothing, so that the listener knows that it listens.
func (d *daemon) Drops(ctx context.Context, reasons []string, filter dataplane.PacketFilter, tell func(api.Drop) error) error {
	if err := d.checkReasons(reasons); err != nil {
		return err
	}
	l := d.drops.Listen(func(dropped dataplane.Dropped) bool {
		return (len(reasons) == 0 || slices.Contains(reasons, dropped.Outcome)) && filter.Wants(dropped)
	})
	defer l.Close()
	if err := tell(api.Drop{}); err != nil {
		return err
	}
	tick := time.NewTicker(tellMissedEvery)
	defer tick.Stop()
	for {
		var line api.Drop
		select {
		case <-ctx.Done():
			return ctx.Err()
		case dropped := <-l.C:
			line = dropView(dropped)
		case <-tick.C:
		}
		line.NotShown = l.Missed()
		if line.Reason == "" && line.NotShown == 0 {
			continue
		}
		if err := tell(line); err != nil {
			return err
		}
	}
}

// checkReasons refuses what no packet is dropped for.
func (d *daemon) checkReasons(reasons []string) error {
	if len(reasons) == 0 {
		return nil
	}
	counters, err := d.plane.Counters()
	if err != nil {
		return fmt.Errorf("reading the reasons: %w", err)
	}
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(counters.Outcomes)), func(name string) bool { return !goesNowhere(name) })
	for _, reason := range reasons {
		if !slices.Contains(known, reason) {
			return refusal(http.StatusNotFound, "packets are not dropped for %q, but for %s", reason, strings.Join(known, ", "))
		}
	}
	return nil
}

// goesNowhere tells the outcomes of packets that go nowhere, or not yet.
func goesNowhere(outcome string) bool {
	return strings.HasPrefix(outcome, "DROP_") || strings.HasPrefix(outcome, "HOLD_")
}

func dropView(d dataplane.Dropped) api.Drop {
	view := api.Drop{At: &d.At, Reason: d.Outcome, Length: d.Length, VLAN: d.VLAN, Interface: fmt.Sprint(d.Interface),
		Source: end(d.Source), Destination: end(d.Destination)}
	if device, err := net.InterfaceByIndex(int(d.Interface)); err == nil {
		view.Interface = device.Name
	}
	switch d.Protocol {
	case 0:
	case 1:
		view.Protocol = "icmp"
	case 58:
		view.Protocol = "icmpv6"
	default:
		view.Protocol = d.Protocol.String()
	}
	return view
}

// end leaves out what was not read.
func end(at netip.AddrPort) string {
	switch {
	case !at.IsValid():
		return ""
	case at.Port() == 0:
		return at.Addr().String()
	}
	return at.String()
}
