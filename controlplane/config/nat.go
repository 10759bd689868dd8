package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
)

// NAT is how forward = "nat" makes its connections.
type NAT struct {
	// Sources are addresses of this host that connections to backends come from, at
	// most MaxNATSources a family. Default: none, and then each connection comes
	// from the balancer's address on the way to its backend.
	Sources []netip.Addr
	// Ports are the source ports. Default: DefaultNATPorts.
	Ports PortRange
	// Timeouts are after how long a silent connection is over. Default:
	// DefaultNATTimeouts.
	Timeouts NATTimeouts

	sources []Position
}

// PortRange is ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// NATTimeouts are after how long without a packet a connection is over, by what it
// has come to.
type NATTimeouts struct {
	Handshake   time.Duration // of TCP, not finished
	Established time.Duration // of TCP
	HalfClosed  time.Duration // of TCP: one end has said FIN
	TimeWait    time.Duration // of TCP, closed or reset: its ports rest
	UDPFirst    time.Duration // of UDP, while it is a question and an answer
	UDP         time.Duration // of UDP that goes on after an answer
}

// MaxNATSources is how many addresses of each family there may be.
const MaxNATSources = 8

// DefaultNATPorts end below the ports that Linux gives its own sockets
// (net.ipv4.ip_local_port_range), whose answers must not be taken for backends'.
var DefaultNATPorts = PortRange{1024, 32767}

// DefaultNATTimeouts are, for established TCP, REQ-5 of RFC 5382, and for UDP,
// REQ-5 of RFC 4787.
var DefaultNATTimeouts = NATTimeouts{
	Handshake: 8 * time.Second, Established: 2*time.Hour + 4*time.Minute, HalfClosed: 4 * time.Minute,
	TimeWait: time.Minute, UDPFirst: 30 * time.Second, UDP: 5 * time.Minute,
}

func (d *decoder) nat(top *block) NAT {
	n := NAT{Ports: DefaultNATPorts, Timeouts: DefaultNATTimeouts}
	n.sources = setList(top, "nat_sources", &n.Sources, natSource)
	for _, is4 := range []bool{true, false} {
		seen := 0
		for i, addr := range n.Sources {
			if addr.Is4() != is4 {
				continue
			}
			if seen++; seen == MaxNATSources+1 {
				d.report(n.sources[i], fmt.Sprintf("nat_sources has more than %d addresses of one family", MaxNATSources), "each is good for tens of thousands of connections to each backend")
			}
		}
	}
	set(top, "nat_ports", &n.Ports, portRange)
	if inner := top.one("nat_timeouts"); inner != nil {
		b := top.child(inner, "nat_timeouts")
		set(b, "handshake", &n.Timeouts.Handshake, span(time.Second, time.Minute))
		set(b, "established", &n.Timeouts.Established, span(time.Minute, mostNATTimeout))
		set(b, "half_closed", &n.Timeouts.HalfClosed, span(time.Second, mostNATTimeout))
		set(b, "time_wait", &n.Timeouts.TimeWait, span(time.Second, 10*time.Minute))
		set(b, "udp_first", &n.Timeouts.UDPFirst, span(time.Second, mostNATTimeout))
		set(b, "udp", &n.Timeouts.UDP, span(time.Second, mostNATTimeout))
	}
	return n
}

const mostNATTimeout = 7 * 24 * time.Hour

// natSource is an address that packets can come from.
func natSource(value cty.Value) (netip.Addr, *wrong) {
	s, mistake := text(value)
	if mistake != nil {
		return netip.Addr{}, mistake
	}
	addr, why := address(s)
	if why != "" {
		return netip.Addr{}, &wrong{why, "give addresses of this host, as in ip address"}
	}
	return addr, nil
}

// leastNATPorts keeps a range useful when its ends are cut to whole lines of the
// table of ports.
const leastNATPorts = 64

// portRange reads FIRST-LAST. Ports below 1024 belong to servers.
func portRange(value cty.Value) (PortRange, *wrong) {
	s, mistake := text(value)
	if mistake != nil {
		return PortRange{}, mistake
	}
	low, high, ranged := strings.Cut(s, "-")
	first, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	switch {
	case !ranged || err1 != nil || err2 != nil || first < 1024:
		return PortRange{}, &wrong{fmt.Sprintf("%q is not a range of ports from 1024 on", s), fmt.Sprintf("write %q", DefaultNATPorts)}
	case last < first+leastNATPorts-1:
		return PortRange{}, &wrong{fmt.Sprintf("%q has fewer than %d ports", s, leastNATPorts), "each connection to a backend takes one"}
	}
	return PortRange{uint16(first), uint16(last)}, nil
}

// guardNAT keeps connections from coming from a VIP, whose answers are packets for
// that VIP.
func (d *decoder) guardNAT(f *File, own owners) {
	for i, addr := range f.NAT.Sources {
		at := f.NAT.sources[i]
		if vip, is := own.of(addr); is {
			d.report(at, fmt.Sprintf("%s in nat_sources is a VIP", addr),
				fmt.Sprintf("service %q listens on it at %s; answers of backends would be taken for packets of clients", vip.service, vip.vip.Position))
		} else if j := pool(f, addr); j >= 0 {
			d.report(at, fmt.Sprintf("%s in nat_sources lies in a pool of VIPs", addr), fmt.Sprintf("the pool %s at %s", f.VIPPools[j], f.pools[j]))
		}
	}
}

// checkNATSources finds sources that are not this host's.
func (f *File) checkNATSources(addresses []netip.Prefix) (errs Errors) {
	for i, addr := range f.NAT.Sources {
		if !slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Unmap().WithZone("") == addr }) {
			errs = append(errs, f.Mistake(f.NAT.sources[i], fmt.Sprintf("nat_sources has %s, which is no address of this host", addr),
				"backends' answers to it must come here: give the host the address, as in ip address add"))
		}
	}
	return errs
}

// changesPort tells whether a backend may listen on another port than the VIP's.
func (s Service) changesPort() bool { return s.Forward == "nat" }

// onePort tells whether all VIPs have one port, and the same.
func (s Service) onePort() bool {
	for _, l := range s.Listen {
		if !l.single() || l.Port != s.Listen[0].Port {
			return false
		}
	}
	return true
}
