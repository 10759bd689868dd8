package stories

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
	"github.com/pointsman/pointsman/dataplane/kernel"
	"github.com/pointsman/pointsman/test/lab"
)

var (
	soakFor  = flag.Duration("soak.for", 10*time.Second, "how long the storm of changes lasts")
	soakSeed = flag.Uint64("soak.seed", 0, "repeat the storm of this seed; 0 draws one")
)

// untouched has the service that nobody touches, in the midst of all that change.
const untouched = `
limits {
  flows = 8192
}
service "steady" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" {}
}
`

// storm is the lab in which everything changes, and all the time.
type storm struct {
	*stage
	*rand.Rand
	client          *api.Client
	reloads, events int
	bridges         int // interfaces that came and went
}

func TestPrivilegedAStormOfChangesLeavesNoTrace(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat it with -soak.seed %d", seed)
	s := open(t, lab.Options{Backends: 3, SecondSegment: 1}, 1)
	s.interfaces = `["eth0", "eth1"]`
	w := &storm{stage: s, Rand: rand.New(rand.NewPCG(seed, seed)), client: api.NewClient(s.Socket())}
	s.begin(untouched)
	asking := s.keepAsking(webVIPs...)

	w.rage(*soakFor / 4)
	before := w.weigh()
	w.rage(*soakFor)
	after := w.weigh()
	w.calm()
	t.Logf("%d reloads and %d changes of the network; the process takes %+v, and took %+v after a fifth", w.reloads, w.events, after, before)
	if after.files > before.files+8 || after.goroutines > before.goroutines+8 || after.resident > before.resident*5/4+8<<20 || after.heap > before.heap*2+8<<20 {
		t.Errorf("something grows: %+v, and before %+v", after, before)
	}
	w.await("all is settled", func() error {
		if left := fake.Restless(w.portrait()); len(left) > 0 {
			return fmt.Errorf("%d lines, such as %s", len(left), left[0])
		}
		return nil
	})
	day := w.portrait()
	asking.join()
	s.nothingLost(asking.finish())

	s.must(s.Daemon.Stop())
	s.must(s.Detach(t.Context()))
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	for _, difference := range fake.Differences(day, w.portrait()) {
		t.Errorf("what the kernel holds after the storm (-) and a fresh start (+): %s", difference)
	}
}

// rage changes something, as fast as it is taken.
func (w *storm) rage(long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); {
		if w.IntN(3) > 0 {
			w.reread(w.services())
			continue
		}
		w.network()
		w.events++
	}
}

// reread has the daemon take a configuration, and waits for its answer.
func (w *storm) reread(services string) {
	w.t.Helper()
	w.configure(untouched + services)
	_, err := w.client.Reload(w.t.Context(), api.ReloadRequest{})
	w.must(err)
	w.reloads++
}

// services are those of the file that change.
func (w *storm) services() string {
	var text strings.Builder
	for n := 2; n < 6; n++ {
		if w.IntN(4) == 0 {
			continue
		}
		fmt.Fprintf(&text, "service \"s%d\" {\n listen = [\"192.0.2.%d:80/tcp\", \"192.0.2.%d:53/udp\"]\n", n, n, n)
		fmt.Fprintf(&text, " slots = %d\n forward = %q\n idle_timeout = \"1s\"\n drain_timeout = \"%ds\"\n tracking = %q\n",
			[]int{251, 509, 1021}[w.IntN(3)], []string{"ipip", "l2"}[w.IntN(2)], w.IntN(3), []string{"auto", "always", "never"}[w.IntN(3)])
		for b := 1; b <= 4; b++ {
			if b == 1 || w.IntN(3) > 0 { // a service has one
				fmt.Fprintf(&text, " backend \"{{v%d %d}}\" { weight = %d }\n", 4+2*w.IntN(2), b, w.IntN(4))
			}
		}
		text.WriteString("}\n")
	}
	return text.String()
}

// network changes links, routes, neighbours and addresses of the balancer, but
// those of the way to backend-1.
func (w *storm) network() {
	links := w.Lab.Balancer.Links()
	other := w.backend(2 + w.IntN(2))
	switch w.IntN(6) {
	case 0: // an interface comes and goes
		w.bridges++
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "noise" + strconv.Itoa(w.bridges)}}
		w.must(links.LinkAdd(link))
		w.must(links.LinkSetUp(link))
		w.must(links.LinkDel(link))
	case 1: // the second segment goes down and up
		link := w.link("eth1")
		w.must(links.LinkSetDown(link))
		w.must(links.LinkSetUp(link))
		w.routes()
	case 2: // a backend moves behind the router, and back
		route := &netlink.Route{Dst: ipNet(host(other.Addr4)), Gw: w.Lab.Router.Addrs()[2].AsSlice()}
		w.must(links.RouteReplace(route))
		w.must(links.RouteDel(route))
	case 3: // routes that concern nobody
		route := &netlink.Route{Dst: ipNet(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(w.IntN(256)), 0, 0}), 16)), Gw: w.Lab.Router.Addrs()[2].AsSlice()}
		w.must(links.RouteReplace(route))
		w.must(links.RouteDel(route))
	case 4: // a neighbour is forgotten
		w.neighbour(other, links.NeighDel, nil)
	default: // a neighbour is another
		w.neighbour(other, links.NeighSet, net.HardwareAddr{2, 0, 0, 0, 9, byte(w.IntN(256))})
		w.neighbour(other, links.NeighDel, nil)
	}
}

func (w *storm) link(name string) netlink.Link {
	w.t.Helper()
	link, err := w.Lab.Balancer.Links().LinkByName(name)
	w.must(err)
	return link
}

// routes gives back what going down took from eth1: its IPv6 address.
func (w *storm) routes() {
	link := w.link("eth1")
	for _, addr := range w.Lab.Balancer.Addrs() {
		if addr.Is6() && w.backend(4).Addr6.As16()[5] == addr.As16()[5] {
			prefix := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(64, 128)}}
			w.must(w.Lab.Balancer.Links().AddrReplace(link, prefix))
		}
	}
}

// neighbour changes what the balancer knows of a backend's MAC. What it does not
// know cannot be deleted.
func (w *storm) neighbour(of *lab.Host, do func(*netlink.Neigh) error, mac net.HardwareAddr) {
	_ = do(&netlink.Neigh{LinkIndex: w.link("eth0").Attrs().Index, Family: netlink.FAMILY_V4, State: netlink.NUD_REACHABLE, IP: of.Addr4.AsSlice(), HardwareAddr: mac})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// calm makes the file and the network what they stay.
func (w *storm) calm() {
	w.reread(`
service "s2" {
  listen = ["192.0.2.2:80/tcp", "192.0.2.2:53/udp"]
  slots  = 509
  idle_timeout = "1s"
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" { weight = 2 }
  backend "{{v6 3}}" {}
  backend "{{v4 4}}" {}
}`)
	w.await("every backend is up", func() error { return w.compare("s2", append(allUp, "backend-4 up")) })
}

// burden is what must not grow.
type burden struct {
	files, goroutines int
	resident, heap    uint64
}

func (w *storm) weigh() burden {
	w.t.Helper()
	process := filepath.Join("/proc", strconv.Itoa(w.Daemon.PID()))
	files, err := os.ReadDir(filepath.Join(process, "fd"))
	w.must(err)
	text, err := os.ReadFile(filepath.Join(process, "status"))
	w.must(err)
	var kilobytes uint64
	for line := range strings.Lines(string(text)) {
		if size, is := strings.CutPrefix(line, "VmRSS:"); is {
			_, err := fmt.Sscan(size, &kilobytes)
			w.must(err)
		}
	}
	now, err := w.client.Status(w.t.Context())
	w.must(err)
	return burden{len(files), now.Process.Goroutines, kilobytes << 10, now.Process.HeapBytes}
}

// portrait is what the kernel holds.
func (w *storm) portrait() []string {
	w.t.Helper()
	plane, err := kernel.Open(kernel.Options{PinDir: w.PinDir(), Limits: dataplane.Limits{Services: 1, VIPs: 1, Backends: 1}, Slots: 1, Flows: 1})
	w.must(err)
	defer plane.Close()
	tables, err := plane.Tables()
	w.must(err)
	return fake.Portrait(tables)
}
