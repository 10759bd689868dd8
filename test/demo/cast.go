package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

// service is a service of the demo: one VIP of each family.
type service struct {
	name     string
	kind     traffic.Kind
	protocol string
	port     uint16
	vips     []netip.Addr
	forward  string
	// address is which of its addresses a backend is known by.
	address func(*lab.Host) netip.Addr
}

var web = service{"web", traffic.HTTP, "tcp", 80, []netip.Addr{lab.VIP4(10), lab.VIP6(0x10)}, "ipip", func(h *lab.Host) netip.Addr { return h.Addr4 }}

var services = []service{
	web,
	{"dns", traffic.UDP, "udp", 53, []netip.Addr{lab.VIP4(53), lab.VIP6(0x53)}, "l2", func(h *lab.Host) netip.Addr { return h.Addr6 }},
}

// backend is one of the lab's backends, by its name there.
type backend struct {
	name   string
	weight int
}

// The last one is on the segment behind the balancer's second interface.
var (
	backends = []backend{{"backend-1", 4}, {"backend-2", 3}, {"backend-3", 2}, {"backend-4", 1}}
	network  = lab.Options{Backends: 3, SecondSegment: 1}
	victim   = backends[1]
)

func survivors() []backend {
	return slices.DeleteFunc(slices.Clone(backends), func(b backend) bool { return b == victim })
}

// briefly is for questions and answers.
const briefly = `  # A question and its answer are over in a moment. After a change the balancer
  # learns for this long who talks to whom, and only then gives new flows away.
  idle_timeout = "1s"
`

// configuration is the file that an operator would write.
func (s *stage) configuration() string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	line("interfaces = [\"eth0\", \"eth1\"]")
	line("vip_pools  = [\"%s\", \"%s\"]", lab.VIPNet4, lab.VIPNet6)
	line("state_dir  = %q", s.StateDir())
	if s.Consul != nil {
		line("\nconsul {\n  address = %q\n}", s.Consul.HTTP)
	}
	for _, service := range services {
		line("\nservice %q {", service.name)
		line("  listen  = [\"%s/%s\", \"%s/%s\"]", service.listen(0), service.protocol, service.listen(1), service.protocol)
		line("  forward = %q\n", service.forward)
		if service.kind == traffic.UDP {
			line(briefly)
		}
		if s.Consul != nil {
			line("  consul {\n    service = %q\n  }\n}", service.name)
			continue
		}
		for i, b := range backends {
			line("  backend \"%s\" { weight = %d }", service.address(s.Lab.Backends[i]), b.weight)
		}
		line("\n  health \"http\" {")
		line("    port     = 80\n    path     = \"/healthz\"")
		line("    interval = \"200ms\"\n    timeout  = \"100ms\"\n    fall     = 2\n  }\n}")
	}
	return text.String()
}

// vips are those of all services.
func vips() []netip.Addr {
	var all []netip.Addr
	for _, service := range services {
		all = append(all, service.vips...)
	}
	return all
}

func (s service) listen(i int) netip.AddrPort { return netip.AddrPortFrom(s.vips[i], s.port) }
