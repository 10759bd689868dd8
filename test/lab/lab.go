// Package lab builds a small network of hosts in network namespaces, for the
// demo and for the tests that need real packets:
//
//	client ── router ── switch-a ─┬─ balancer ── switch-b ── backends
//	                              ├─ backends
//	                              └─ gateway ── switch-c ── backends
//
// Every host speaks IPv4 and IPv6 in documentation prefixes (RFC 5737, RFC
// 3849). The router sends the VIP networks to the balancer, and backends answer
// clients through the router, past the balancer.
package lab

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
)

// VIPNet4 and VIPNet6 are the networks that the router sends to the balancer.
var (
	VIPNet4 = netip.MustParsePrefix("192.0.2.0/24")
	VIPNet6 = netip.MustParsePrefix("2001:db8:10::/64")
)

// VIP4 is the IPv4 VIP 192.0.2.n.
func VIP4(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }

// VIP6 is the IPv6 VIP 2001:db8:10::n, n counting from 0 to 255.
func VIP6(n byte) netip.Addr {
	a := VIPNet6.Addr().As16()
	a[15] = n
	return netip.AddrFrom16(a)
}

// Options say how large a lab is. The zero value has no backends at all.
type Options struct {
	Backends      int // on the segment of the router and the balancer
	SecondSegment int // backends behind the balancer's second interface, eth1
	Behind        int // backends behind a second router, the gateway
	// SecondBalancer asks for another balancer beside the first, on the same
	// segment. The router sends it nothing until SendVIPsTo.
	SecondBalancer bool
	// MTU of all wires but the client's; 0 means DefaultMTU.
	MTU int
	// Ports are what the backends listen on; the zero value is DefaultPorts.
	Ports Ports
	// Machines, where there are any, are the lab instead of all this but MTU: hosts
	// with addresses, and without routes and servers.
	Machines []Machine
}

// Lab is a network that is up. Close takes it down.
type Lab struct {
	// Prefix begins the name of everything that the lab leaves in the system:
	// pm, the owner's process id, and _n for the nth lab of one process.
	Prefix string
	// Dir is an empty directory, and PinDir a path in bpffs that does not exist
	// yet. Close removes both.
	Dir, PinDir string

	Client, Router, Balancer *Host
	// Second is the other balancer; nil unless Options.SecondBalancer.
	Second *Host
	// Gateway is the second router; nil unless Options.Behind is positive.
	Gateway *Host
	// Backends are backend-1 to backend-n: those of the first segment, then of
	// the second, then those behind the gateway.
	Backends []*Host
	// Machines are those of Options.Machines, in their order. There is nobody else then.
	Machines []*Host

	mtu   int
	hosts []*Host // everything with a namespace, switches included
	close func() error
}

var labs atomic.Int64

// New takes away what dead processes left, then builds a lab and starts the
// backends' servers. Whatever error it returns, nothing stays behind.
func New(opts Options) (*Lab, error) {
	if err := Sweep(); err != nil {
		return nil, err
	}
	l := &Lab{Prefix: fmt.Sprintf("pm%d", os.Getpid())}
	if n := labs.Add(1); n > 1 {
		l.Prefix += fmt.Sprintf("_%d", n)
	}
	l.Dir, l.PinDir = traces(l.Prefix)
	l.close = sync.OnceValue(l.takeDown)
	l.mtu = cmp.Or(opts.MTU, DefaultMTU)
	if opts.Ports.none() {
		opts.Ports = DefaultPorts
	}
	if err := l.build(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("building a lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) build(opts Options) error {
	if err := mountBPF(); err != nil {
		return err
	}
	if err := os.Mkdir(l.Dir, 0o700); err != nil {
		return err
	}
	if len(opts.Machines) > 0 {
		return l.connectMachines(opts.Machines)
	}
	if err := l.connect(opts); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	for _, b := range l.Backends {
		b.ports = opts.Ports
		if err := b.Revive(); err != nil {
			return err
		}
	}
	return nil
}

// Balancers are the one or two.
func (l *Lab) Balancers() []*Host {
	if l.Second == nil {
		return []*Host{l.Balancer}
	}
	return []*Host{l.Balancer, l.Second}
}

// Close ends every server and process of the lab and removes its namespaces,
// pins and files. It may be called more than once and from any goroutine.
func (l *Lab) Close() error { return l.close() }

func (l *Lab) takeDown() error {
	var errs []error
	for _, h := range l.hosts {
		h.Kill()
	}
	for _, h := range l.hosts {
		errs = append(errs, h.stopProcesses())
	}
	for _, h := range l.hosts {
		errs = append(errs, h.remove())
	}
	errs = append(errs, os.RemoveAll(l.PinDir), os.RemoveAll(l.Dir))
	return errors.Join(errs...)
}
