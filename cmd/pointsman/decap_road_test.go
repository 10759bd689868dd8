package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var (
	roadVIP4    = netip.MustParseAddr("192.0.2.10")
	roadVIP6    = netip.MustParseAddr("2001:db8:10::10")
	roadClient4 = netip.MustParseAddr("198.51.100.7")
	roadClient6 = netip.MustParseAddr("2001:db8:99::7")
)

// tunnelRoad is a backend and, at the other end of a cable, a tester that is
// client and balancer in one: what its sockets send to a VIP leaves by a TUN
// device, and comes back from there in a tunnel packet written by this test, not
// by the program that is tested elsewhere. The test's thread is the backend's.
type tunnelRoad struct {
	backend, tester   netns.NsHandle
	outer6, gue       atomic.Bool   // the family of the tunnel, and whether it is in UDP
	named             atomic.Uint32 // the port that the latter names; 0 names none
	stateFile, pinDir string
}

func newTunnelRoad(t *testing.T) *tunnelRoad {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	r := &tunnelRoad{stateFile: filepath.Join(t.TempDir(), "decap.json")}
	pinDir, err := os.MkdirTemp("/sys/fs/bpf", "pointsman-decap-")
	if err != nil {
		t.Fatalf("the tests pin on the BPF filesystem at /sys/fs/bpf: %v", err)
	}
	r.pinDir = pinDir
	t.Cleanup(func() { os.RemoveAll(pinDir) })
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	var errTester, errBackend error
	r.tester, errTester = netns.New()
	r.backend, errBackend = netns.New()
	t.Cleanup(func() { r.tester.Close(); r.backend.Close() })
	if err := errors.Join(errTester, errBackend, r.layCable()); err != nil {
		t.Fatal(err)
	}
	if err := r.asTester(func() error { return r.startBalancer(t) }); err != nil {
		t.Fatal(err)
	}
	return r
}

// asTester runs f in the tester's namespace.
func (r *tunnelRoad) asTester(f func() error) error {
	if err := netns.Set(r.tester); err != nil {
		return err
	}
	return errors.Join(f(), netns.Set(r.backend))
}

// layCable is called on the backend.
func (r *tunnelRoad) layCable() error {
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(r.tester)}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("laying a cable: %w", err)
	}
	err := r.asTester(func() error {
		return errors.Join(
			quietHost(), up("lo", roadClient4.String()+"/32", roadClient6.String()+"/128"),
			up("eth0", "10.0.0.1/24", "fd00::1/64"),
		)
	})
	return errors.Join(err,
		quietHost(), up("lo"), up("eth0", "10.0.0.2/24", "fd00::2/64"),
		route("0.0.0.0/0", "eth0", "10.0.0.1"), route("::/0", "eth0", "fd00::1"), awaitCarrier("eth0"),
	)
}

// awaitCarrier waits for what the kernel does in its own time once a cable is
// laid: it notes the carrier, and gives the interface a link-local address.
func awaitCarrier(name string) error {
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		local := slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() })
		if local && link.Attrs().Flags&net.FlagRunning != 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has no carrier, or no link-local address: %v, %v", name, link.Attrs().Flags, addresses)
		}
	}
}

// quietHost makes what is sent and accepted not depend on the machine's settings.
func quietHost() error {
	for path, value := range map[string]string{
		"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0", "net/ipv4/conf/eth0/rp_filter": "0",
		"net/ipv6/conf/all/accept_ra": "0", "net/ipv6/conf/eth0/accept_ra": "0",
	} {
		if err := os.WriteFile("/proc/sys/"+path, []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}

func up(name string, addresses ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if address.IP.To4() == nil {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("adding %s to %s: %w", text, name, err)
		}
	}
	return netlink.LinkSetUp(link)
}

func route(to, name, gateway string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	destination, err := netlink.ParseIPNet(to)
	if err != nil {
		return err
	}
	err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: destination, Gw: net.ParseIP(gateway)})
	if err != nil {
		return fmt.Errorf("adding a route to %s: %w", to, err)
	}
	return nil
}

// startBalancer is called on the tester. The kernel writes the outer headers of
// raw sockets; the inner packet is what the TUN device hands out.
func (r *tunnelRoad) startBalancer(t *testing.T) error {
	tun, err := openTUN("tun0")
	if err != nil {
		return fmt.Errorf("opening a TUN device: %w", err)
	}
	t.Cleanup(func() { tun.Close() })
	if err := errors.Join(up("tun0"), routeBy("tun0", "192.0.2.0/24", roadClient4), routeBy("tun0", "2001:db8:10::/64", roadClient6)); err != nil {
		return err
	}
	tunnels := make(map[string]*net.IPConn)
	for _, network := range []string{"ip4:4", "ip4:41", "ip4:17", "ip6:4", "ip6:41", "ip6:17"} {
		backend := map[byte]string{'4': "10.0.0.2", '6': "fd00::2"}[network[2]]
		if tunnels[network], err = net.DialIP(network, nil, &net.IPAddr{IP: net.ParseIP(backend)}); err != nil {
			return fmt.Errorf("opening a raw socket: %w", err)
		}
		t.Cleanup(func() { tunnels[network].Close() })
	}
	go func() {
		packet := make([]byte, 2048)
		for {
			n, err := tun.Read(packet)
			if err != nil {
				return
			}
			outer := map[bool]string{false: "ip4", true: "ip6"}[r.outer6.Load()]
			inner := map[byte]byte{4: 4, 6: 41}[packet[0]>>4]
			if r.gue.Load() {
				tunnels[outer+":17"].Write(inGUE(packet[:n], inner, uint16(r.named.Load())))
				continue
			}
			tunnels[fmt.Sprintf("%s:%d", outer, inner)].Write(packet[:n])
		}
	}()
	return nil
}

// inGUE is a packet behind a UDP header without a checksum and one of GUE, with
// private data that names a port unless that is 0.
func inGUE(packet []byte, protocol byte, port uint16) []byte {
	gue := []byte{0, protocol, 0, 0}
	if port != 0 {
		gue = []byte{1, protocol, 0, 0, 'p', 'm', byte(port >> 8), byte(port)}
	}
	length := uint16(8 + len(gue) + len(packet))
	headers := []byte{0xc0, 0x01, 6080 >> 8, 6080 & 0xff, byte(length >> 8), byte(length), 0, 0}
	return append(append(headers, gue...), packet...)
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// routeBy sends a network to a device whose MTU leaves room for an outer header.
func routeBy(name, to string, source netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	destination, err := netlink.ParseIPNet(to)
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetMTU(link, 1400),
		netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: destination, Src: source.AsSlice()}))
}

func (r *tunnelRoad) addVIP(vip netip.Addr) error {
	return up("lo", netip.PrefixFrom(vip, vip.BitLen()).String())
}

// snapshot is all of the backend that decap could change, as text: links with
// their programs and qdiscs, addresses, and every sysctl of its interfaces.
func (r *tunnelRoad) snapshot(t *testing.T) string {
	t.Helper()
	var lines []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		xdp := uint32(0)
		if link.Attrs().Xdp != nil {
			xdp = link.Attrs().Xdp.ProgId
		}
		lines = append(lines, fmt.Sprintf("link %s flags %v xdp %d", link.Attrs().Name, link.Attrs().Flags, xdp))
		qdiscs, errQdiscs := netlink.QdiscList(link)
		addresses, errAddresses := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err := errors.Join(errQdiscs, errAddresses); err != nil {
			t.Fatal(err)
		}
		for _, qdisc := range qdiscs {
			lines = append(lines, fmt.Sprintf("qdisc %s on %s", qdisc.Type(), link.Attrs().Name))
		}
		for _, address := range addresses {
			flags := address.Flags &^ unix.IFA_F_TENTATIVE // which passes by itself after a second
			lines = append(lines, fmt.Sprintf("address %s scope %d flags %x on %s", address.IPNet, address.Scope, flags, link.Attrs().Name))
		}
	}
	local := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, local, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range routes {
		if route.LinkIndex == 1 { // lo; on others addresses bring theirs, some late
			lines = append(lines, fmt.Sprintf("local %s", route.Dst))
		}
	}
	slices.Sort(lines)
	return strings.Join(append(lines, sysctls(t)...), "\n")
}

func sysctls(t *testing.T) (lines []string) {
	t.Helper()
	for _, root := range []string{"/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if value, err := os.ReadFile(path); err == nil { // some cannot be read
				lines = append(lines, path+" = "+strings.TrimSpace(string(value)))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// withoutPrograms forgets the ids of programs, which differ from load to load.
func withoutPrograms(snapshot string) string {
	return regexp.MustCompile(` xdp \d+`).ReplaceAllString(snapshot, "")
}
