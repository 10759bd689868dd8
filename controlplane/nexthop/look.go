package nexthop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// Seen is a way as a single look finds it.
type Seen struct {
	Resolution
	Silent netip.Addr // the neighbour that has not answered, where that is the problem
	// Lasting is the MTU of the route itself and the words that ip route takes for it;
	// without one, "".
	Lasting string
}

// lookPatience is longer than the kernel asks a neighbour for: three times, a second apart.
const lookPatience = 4 * time.Second

// Look finds the ways to addresses without keeping them: unlike a Watcher it leaves
// the table of neighbours to others. Neighbours that nobody has asked for are asked
// by the kernel, since an empty datagram is sent to each such address.
func Look(ctx context.Context, addrs []netip.Addr, ingress []Ingress) (map[netip.Addr]Seen, error) {
	k, err := openNetlink(nil)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	asked := map[netip.Addr]bool{}
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		seen, waiting, err := lookOnce(k, addrs, ingress, asked)
		if err != nil || !waiting {
			return seen, err
		}
		select {
		case <-ctx.Done():
			return seen, nil
		case <-tick.C:
		}
	}
}

// lookOnce tells whether a neighbour is still being asked.
func lookOnce(k kernel, addrs []netip.Addr, ingress []Ingress, asked map[netip.Addr]bool) (all map[netip.Addr]Seen, waiting bool, err error) {
	w := newWays(k)
	if err := w.list(); err != nil {
		return nil, false, fmt.Errorf("listing links and neighbours: %w", err)
	}
	w.world.ingress = ingress
	all = map[netip.Addr]Seen{}
	for _, addr := range addrs {
		route, err := k.Route(addr)
		if err != nil {
			return nil, false, fmt.Errorf("asking for the route to %s: %w", addr, err)
		}
		found := w.resolve(addr, route, Resolution{})
		seen := Seen{Resolution: found.Resolution, Lasting: w.lasting(addr, route)}
		if found.silent {
			seen.Silent = found.hop.Addr
			if !asked[addr] {
				knock(addr)
				asked[addr] = true
				waiting = true
			} else {
				waiting = waiting || !found.failed
			}
		}
		all[addr] = seen
	}
	return all, waiting, nil
}

// knock sends an empty datagram to where usually nobody listens, so that the kernel
// asks for the neighbour on the way. Whether it can be sent does not matter.
func knock(addr netip.Addr) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write(nil)
}

// lasting are the words for a route that has an MTU of its own.
func (w *ways) lasting(addr netip.Addr, route Route) string {
	if route.MTU == 0 {
		return ""
	}
	k, is := w.kernel.(*netlinkKernel)
	if !is {
		return ""
	}
	found, err := k.handle.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil || len(found) == 0 {
		return ""
	}
	return RouteWords(found[0], w.links[route.Interface].Name)
}

// RouteWords is a route as ip route change takes it, but for what is to be changed.
func RouteWords(r netlink.Route, iface string) string {
	to := "default"
	if ones := 0; r.Dst != nil {
		if ones, _ = r.Dst.Mask.Size(); ones > 0 {
			to = r.Dst.String()
		}
	}
	words := to
	if len(r.Gw) > 0 {
		words += " via " + r.Gw.String()
	}
	words += " dev " + iface
	if len(r.Src) > 0 {
		words += " src " + r.Src.String()
	}
	if r.Protocol != 0 {
		words += fmt.Sprintf(" proto %d", r.Protocol)
	}
	if r.Priority != 0 {
		words += fmt.Sprintf(" metric %d", r.Priority)
	}
	return words
}
