package stories

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/test/lab"
)

// webOn has VIPs of both families, with a number, on two backends.
func webOn(number byte, forward string) string {
	return fmt.Sprintf(`
service "web-%d" {
  listen  = ["%s:80/tcp", "[%s]:80/tcp", "%[2]s:7000/tcp", "[%[3]s]:7000/tcp"]
  forward = %q
  slots   = 251
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" {}
}`, number, lab.VIP4(number), lab.VIP6(number), forward)
}

// need ends a test that cannot be without a program.
func need(t *testing.T, program, debianPackage string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: apt-get install %s", program, debianPackage)
	}
}

func TestPrivilegedPingIsAnsweredByVIPsAndByNothingElse(t *testing.T) {
	need(t, "ping", "iputils-ping")
	s := open(t, lab.Options{Backends: 2}, 1)
	s.begin(webOn(1, "ipip"))
	s.overhearAt(s.Lab.Client, "eth0")
	for _, vip := range []netip.Addr{lab.VIP4(1), lab.VIP6(1)} {
		longest := "1472" // of a client's wire
		if vip.Is6() {
			longest = "1452"
		}
		for _, size := range []string{"0", "1", "56", "57", longest} {
			t.Run(vip.String()+", bytes "+size, func(t *testing.T) { s.in(t).pings(vip, size) })
		}
	}
	for _, other := range []netip.Addr{lab.VIP4(2), lab.VIP6(2)} {
		output, err := s.Lab.Client.Run(t.Context(), "ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", other.String())
		if err == nil {
			t.Errorf("%s is no VIP and was answered:\n%s", other, output)
		}
	}
}

// pings wants three answers, of which ping itself says that nothing is wrong.
func (s *stage) pings(vip netip.Addr, size string) {
	s.t.Helper()
	before := s.outcome("REPLY_ECHO")
	output, err := s.Lab.Client.Run(s.t.Context(), "ping", "-n", "-c", "3", "-i", "0.05", "-W", "5", "-s", size, vip.String())
	if err != nil || !strings.Contains(string(output), " 3 received") || regexp.MustCompile("wrong|DUP|truncated|corrupt").Match(output) {
		s.t.Errorf("ping says %v:\n%s", err, output)
	}
	if answered := s.outcome("REPLY_ECHO") - before; answered != 3 {
		s.t.Errorf("the balancer answered %d times", answered)
	}
}

func TestPrivilegedTracerouteToAVIPEndsAtTheVIP(t *testing.T) {
	need(t, "traceroute", "traceroute")
	s := open(t, lab.Options{Backends: 2}, 1)
	s.begin(webOn(1, "ipip"))
	for _, vip := range []netip.Addr{lab.VIP4(1), lab.VIP6(1)} {
		for _, by := range [][]string{{"-I"}, {"-T", "-p", "80"}} {
			args := append(by, "-n", "-w", "2", "-q", "2", "-m", "6", vip.String())
			output, err := s.Lab.Client.Run(t.Context(), "traceroute", args...)
			hops := strings.Split(strings.TrimSpace(string(output)), "\n")
			if err != nil || len(hops) != 3 || !strings.Contains(hops[2], vip.String()) || strings.Contains(hops[2], "*") {
				t.Errorf("traceroute %v says %v:\n%s", args, err, output)
			}
		}
	}
}

// tight is what fits on the way from the router to the client.
const tight = 1300

// The router tells the VIP, whose name answers are sent in, that they are too long
// for the client's side. Without a balancer that finds out whose they are, downloads
// hang.
func TestPrivilegedABackendLearnsThatItsAnswersDoNotFitTheClientsSide(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2, 3)
	modes := []string{"ipip", "gue", "l2"}
	services := ""
	for i, forward := range modes {
		services += webOn(byte(i+1), forward)
	}
	s.begin(services)
	s.overhear()
	for _, client := range []netip.Addr{s.Lab.Client.Addr4, s.Lab.Client.Addr6} {
		s.must(narrowTo(s.Lab.Router, "eth0", client))
	}
	for i, forward := range modes {
		for _, vip := range []netip.Addr{lab.VIP4(byte(i + 1)), lab.VIP6(byte(i + 1))} {
			t.Run(fmt.Sprintf("%s, by %s", vip, forward), func(t *testing.T) { s.in(t).learnsFromTheRouter(vip) })
		}
	}
}

// narrowTo lets only short packets to an address leave by an interface.
func narrowTo(h *lab.Host, iface string, to netip.Addr) error {
	link, err := h.Links().LinkByName(iface)
	if err != nil {
		return err
	}
	only := &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(to.BitLen(), to.BitLen())}
	return h.Links().RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: only, Scope: netlink.SCOPE_LINK, MTU: tight})
}

func (s *stage) learnsFromTheRouter(vip netip.Addr) {
	s.t.Helper()
	client := s.Lab.Client.Addr4
	if vip.Is6() {
		client = s.Lab.Client.Addr6
	}
	for _, h := range s.Lab.Backends {
		s.must(forget(h, client))
	}
	name := s.download(netip.AddrPortFrom(vip, 7000).String())
	for _, h := range s.Lab.Backends {
		routes, err := h.Links().RouteGet(client.AsSlice())
		s.must(err)
		if learned := routes[0].MTU == tight; learned != (h.Name == name) {
			s.t.Errorf("%s answered, and %s takes packets of %d bytes to fit", name, h.Name, routes[0].MTU)
		}
	}
}

// forget makes a host forget what it has learned of the way to an address. IPv6
// keeps that with the route, and IPv4 only until its cache is flushed.
func forget(h *lab.Host, to netip.Addr) error {
	if err := h.Sysctl("net/ipv4/route/flush", "1"); err != nil {
		return err
	}
	routes, err := h.Links().RouteGet(to.AsSlice())
	if err != nil {
		return err
	}
	gateway, _ := netip.AddrFromSlice(routes[0].Gw)
	everything := netip.PrefixFrom(to, 0).Masked()
	return h.AddRoute(everything, gateway.Unmap())
}

// download reads far more than one segment and says who sent it.
func (s *stage) download(vip string) (name string) {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "tcp", vip)
	s.must(err)
	defer conn.Close()
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	line := strings.Repeat("mind the gap ", 5000)
	_, err = fmt.Fprintln(conn, line)
	s.must(err)
	lines := bufio.NewReader(conn)
	name, err = lines.ReadString('\n')
	s.must(err)
	name = strings.TrimSpace(name)
	if got, err := lines.ReadString('\n'); err != nil || got != name+" "+line+"\n" {
		s.t.Fatalf("%d bytes came back, %v; want %d", len(got), err, len(name)+len(line)+2)
	}
	return name
}
