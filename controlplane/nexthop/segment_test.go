package nexthop

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// station is a host in a network namespace of its own.
type station struct {
	*netlink.Handle
	t  *testing.T
	ns netns.NsHandle
}

// stations needs root, as making namespaces does.
func stations(t *testing.T, n int) []*station {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	var all []*station
	for range n {
		made := make(chan error)
		s := &station{t: t}
		go func() {
			runtime.LockOSThread() // for good: the thread ends with this goroutine, and nobody else gets into its namespace
			var err error
			s.ns, err = netns.New()
			made <- err
		}()
		if err := <-made; err != nil {
			t.Fatalf("making a network namespace: %v", err)
		}
		t.Cleanup(func() { s.ns.Close() }) // takes the interfaces with it
		handle, err := netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
		s.must(err)
		t.Cleanup(handle.Close)
		s.Handle = handle
		all = append(all, s)
	}
	return all
}

func (s *station) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// connect joins two stations by a cable, which is up, and gives each end its
// addresses at once, without duplicate address detection.
func connect(a *station, nameA string, addrsA []string, b *station, nameB string, addrsB []string) {
	a.t.Helper()
	a.must(a.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: 1500},
		PeerName:  nameB, PeerNamespace: netlink.NsFd(int(b.ns)),
	}))
	for _, end := range []struct {
		*station
		name  string
		addrs []string
	}{{a, nameA, addrsA}, {b, nameB, addrsB}} {
		end.must(end.LinkSetIP6AddrGenMode(end.link(end.name), nl.IN6_ADDR_GEN_MODE_NONE))
		end.must(end.LinkSetUp(end.link(end.name)))
		for _, addr := range end.addrs {
			end.assign(end.name, addr)
		}
	}
}

func (s *station) link(name string) netlink.Link {
	s.t.Helper()
	link, err := s.LinkByName(name)
	s.must(err)
	return link
}

func (s *station) mac(name string) [6]byte {
	s.t.Helper()
	return [6]byte(s.link(name).Attrs().HardwareAddr)
}

func (s *station) assign(name, addr string) {
	s.t.Helper()
	parsed, err := netlink.ParseAddr(addr)
	s.must(err)
	parsed.Flags = unix.IFA_F_NODAD
	s.must(s.AddrAdd(s.link(name), parsed))
}

// route sends a prefix to a gateway, also where it went elsewhere before.
func (s *station) route(prefix, gateway string, mtu int) {
	s.t.Helper()
	_, dst, err := net.ParseCIDR(prefix)
	s.must(err)
	s.must(s.RouteReplace(&netlink.Route{Dst: dst, Gw: netip.MustParseAddr(gateway).AsSlice(), MTU: mtu}))
}

// inside runs f on a thread in the station's namespace.
func (s *station) inside(f func() error) {
	s.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good, as above
		if err := netns.Set(s.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	s.must(<-done)
}

// stored is the kernel's entry for a neighbour.
func (s *station) stored(name string, addr netip.Addr) netlink.Neigh {
	s.t.Helper()
	entries, err := s.NeighList(s.link(name).Attrs().Index, 0)
	s.must(err)
	for _, n := range entries {
		if asAddr(n.IP) == addr {
			return n
		}
	}
	return netlink.Neigh{}
}

// watching is a Watcher at work on a station.
type watching struct {
	*Watcher
	t    *testing.T
	news chan news
	end  func()
}

func (s *station) watch(t *testing.T, addrs ...string) *watching {
	t.Helper()
	w := &watching{t: t, news: make(chan news, 1000)}
	w.Watcher = New(Options{Namespace: &s.ns, Changed: func(addr netip.Addr, r Resolution) {
		w.news <- news{addr: addr, Resolution: r}
	}})
	var parsed []netip.Addr
	for _, addr := range addrs {
		parsed = append(parsed, netip.MustParseAddr(addr))
	}
	w.Set(parsed, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(w.end)
	return w
}

// await waits until an address has a resolution that is as wanted.
func (w *watching) await(addr, what string, wanted func(Resolution) bool) Resolution {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case n := <-w.news:
			w.t.Logf("%s: %+v", n.addr, n.Resolution)
			if n.addr == netip.MustParseAddr(addr) && wanted(n.Resolution) {
				return n.Resolution
			}
		case <-deadline:
			last, known := w.Lookup(netip.MustParseAddr(addr))
			w.t.Fatalf("%s was not told within 20 s; %s has %+v (%v)", what, addr, last, known)
		}
	}
}

func (w *watching) awaitWay(addr string) Resolution {
	w.t.Helper()
	return w.await(addr, "a way", func(r Resolution) bool { return r.Problem == "" })
}

func (w *watching) awaitProblem(addr, problem string) {
	w.t.Helper()
	w.await(addr, problem, func(r Resolution) bool { return r.Problem == problem })
}
