package lab

import (
	"fmt"
	"net/netip"
)

// segment is a network of the lab. Hosts are numbered alike in both families,
// after the IPv4 network's first address.
type segment struct{ v4, v6 netip.Prefix }

var (
	access   = segment{netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("2001:db8:1::/64")}
	segmentA = segment{netip.MustParsePrefix("198.51.100.0/25"), netip.MustParsePrefix("2001:db8:a::/64")}
	segmentB = segment{netip.MustParsePrefix("198.51.100.128/25"), netip.MustParsePrefix("2001:db8:b::/64")}
	segmentC = segment{netip.MustParsePrefix("203.0.113.128/25"), netip.MustParsePrefix("2001:db8:c::/64")}

	anywhere = segment{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
)

// Numbers of hosts on their segments. The router, or the gateway where there is
// none, is number 1; backends count up from firstBackend.
const (
	routerNumber   = 1
	balancerNumber = 2
	clientNumber   = 2
	gatewayNumber  = 3
	secondNumber   = 4 // the second balancer's
	firstBackend   = 11
	mostBackends   = 100 // that fit a segment
)

func (s segment) at(number int) (v4, v6 netip.Addr) {
	a4, a6 := s.v4.Addr().As4(), s.v6.Addr().As16()
	a4[3] += byte(number)
	a6[15] += byte(number)
	return netip.AddrFrom4(a4), netip.AddrFrom16(a6)
}

// live gives an interface its addresses on a segment.
func (h *Host) live(iface string, s segment, number int) error {
	v4, v6 := s.at(number)
	if iface == "eth0" {
		h.Addr4, h.Addr6 = v4, v6
	}
	h.addrs = append(h.addrs, v4, v6)
	if err := h.AddAddress(iface, netip.PrefixFrom(v4, s.v4.Bits())); err != nil {
		return err
	}
	return h.AddAddress(iface, netip.PrefixFrom(v6, s.v6.Bits()))
}

// route sends both families' packets for a segment to a host on another.
func (h *Host) route(to, on segment, number int) error {
	v4, v6 := on.at(number)
	if err := h.AddRoute(to.v4, v4); err != nil {
		return err
	}
	return h.AddRoute(to.v6, v6)
}

func (h *Host) forwards() error {
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := h.Sysctl(key, "1"); err != nil {
			return err
		}
	}
	// Answers from a VIP come by another way than packets to it go.
	return h.Sysctl("net/ipv4/conf/all/rp_filter", "0")
}

// connect builds the picture above the package clause.
func (l *Lab) connect(opts Options) (err error) {
	if max(opts.Backends, opts.SecondSegment, opts.Behind) > mostBackends {
		return fmt.Errorf("at most %d backends fit a segment", mostBackends)
	}
	if l.Router, err = l.addHost("router"); err != nil {
		return err
	}
	if err := l.Router.forwards(); err != nil {
		return err
	}
	if err := l.connectClient(); err != nil {
		return err
	}
	switchA, err := l.newSwitch("switch-a")
	if err != nil {
		return err
	}
	if err := l.Router.join("eth1", switchA, segmentA, routerNumber); err != nil {
		return err
	}
	if l.Balancer, err = l.addBalancer("balancer", switchA, balancerNumber); err != nil {
		return err
	}
	if opts.SecondBalancer {
		if l.Second, err = l.addBalancer("balancer-2", switchA, secondNumber); err != nil {
			return err
		}
	}
	if err := l.SendVIPsTo(l.Balancer); err != nil {
		return err
	}
	if err := l.addBackends(opts.Backends, switchA, segmentA); err != nil {
		return err
	}
	if opts.SecondSegment > 0 {
		if err := l.connectSecondSegment(opts.SecondSegment); err != nil {
			return err
		}
	}
	if opts.Behind > 0 {
		return l.connectGateway(opts.Behind, switchA)
	}
	return nil
}

func (l *Lab) addBalancer(name string, on *Host, number int) (*Host, error) {
	h, err := l.addHost(name)
	if err != nil {
		return nil, err
	}
	if err := h.join("eth0", on, segmentA, number); err != nil {
		return nil, err
	}
	return h, h.route(anywhere, segmentA, routerNumber)
}

// SendVIPsTo has the router send the VIP networks to a balancer: each packet
// from then on.
func (l *Lab) SendVIPsTo(balancer *Host) error {
	if err := l.Router.AddRoute(VIPNet4, balancer.Addr4); err != nil {
		return err
	}
	return l.Router.AddRoute(VIPNet6, balancer.Addr6)
}

func (l *Lab) connectClient() (err error) {
	if l.Client, err = l.addHost("client"); err != nil {
		return err
	}
	if err := wire(l.Client, "eth0", l.Router, "eth0", ClientMTU); err != nil {
		return err
	}
	if err := l.Router.live("eth0", access, routerNumber); err != nil {
		return err
	}
	if err := l.Client.live("eth0", access, clientNumber); err != nil {
		return err
	}
	return l.Client.route(anywhere, access, routerNumber)
}

func (l *Lab) connectSecondSegment(backends int) error {
	switchB, err := l.newSwitch("switch-b")
	if err != nil {
		return err
	}
	if err := l.Router.join("eth2", switchB, segmentB, routerNumber); err != nil {
		return err
	}
	if err := l.Balancer.join("eth1", switchB, segmentB, balancerNumber); err != nil {
		return err
	}
	return l.addBackends(backends, switchB, segmentB)
}

func (l *Lab) connectGateway(backends int, switchA *Host) (err error) {
	if l.Gateway, err = l.addHost("gateway"); err != nil {
		return err
	}
	if err := l.Gateway.forwards(); err != nil {
		return err
	}
	if err := l.Gateway.join("eth0", switchA, segmentA, gatewayNumber); err != nil {
		return err
	}
	if err := l.Gateway.route(anywhere, segmentA, routerNumber); err != nil {
		return err
	}
	switchC, err := l.newSwitch("switch-c")
	if err != nil {
		return err
	}
	if err := l.Gateway.join("eth1", switchC, segmentC, routerNumber); err != nil {
		return err
	}
	for _, h := range append(l.Balancers(), l.Router) {
		if err := h.route(segmentC, segmentA, gatewayNumber); err != nil {
			return err
		}
	}
	return l.addBackends(backends, switchC, segmentC)
}

func (l *Lab) addBackends(count int, on *Host, s segment) error {
	for i := range count {
		b, err := l.addHost(fmt.Sprintf("backend-%d", len(l.Backends)+1))
		if err != nil {
			return err
		}
		l.Backends = append(l.Backends, b)
		if err := b.join("eth0", on, s, firstBackend+i); err != nil {
			return err
		}
		if err := b.route(anywhere, s, routerNumber); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) join(iface string, to *Host, s segment, number int) error {
	if err := h.plugIn(iface, to); err != nil {
		return err
	}
	return h.live(iface, s, number)
}
