//go:build kernels

package devices

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

// arrivals are the ports of a balancer whose VIPs' packets come in a VLAN. On the
// last of them iperf3 listens.
var arrivals = lab.Ports{HTTP: []uint16{8000}, TCP: []uint16{7000}, UDP: []uint16{5300}}

const iperf3Port = 5201

// The router sends the VIPs' packets to the balancer in VLAN 10. All MTUs are the
// client's, so that its full segments have to learn of the tunnel.
func TestPrivilegedPacketsMayArriveInAVLAN(t *testing.T) {
	program, err := balancer.Build(t.Context(), t.TempDir())
	must(t, err)
	b := balancer.New(lab.ForTest(t, lab.Options{Backends: 1, MTU: lab.ClientMTU, Ports: arrivals}), program)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("clearing up: %v", err)
		}
	})
	backend := b.Lab.Backends[0]
	must(t, b.Decap(t.Context(), backend, lab.VIP4(10), lab.VIP6(10)))
	_, err = backend.Start(exec.Command("iperf3", "-s", "-p", fmt.Sprint(iperf3Port)))
	must(t, err)
	arriveInVLAN(t, b.Lab)
	startArrivals(t, b, backend)

	for _, vip := range []netip.Addr{lab.VIP4(10), lab.VIP6(10)} {
		t.Run(vip.String(), func(t *testing.T) {
			for kind, ports := range map[traffic.Kind][]uint16{traffic.HTTP: arrivals.HTTP, traffic.TCP: arrivals.TCP, traffic.UDP: arrivals.UDP} {
				ask(t, traffic.Load{From: b.Lab.Client, Kind: kind, To: netip.AddrPortFrom(vip, ports[0])}, backend.Name)
			}
			told := outcome(t, b, "REPLY_TOO_BIG")
			if sent := upload(t, b.Lab.Client, vip); sent < 1<<20 {
				t.Errorf("iperf3 uploaded %d bytes", sent)
			}
			if outcome(t, b, "REPLY_TOO_BIG") == told {
				t.Error("full segments were not refused: what did they travel by?")
			}
			_, err := b.Lab.Client.Run(t.Context(), "ping", "-n", "-c", "3", "-i", "0.2", "-s", "1000", vip.String())
			if err != nil {
				t.Error(err)
			}
		})
	}
	if n := outcome(t, b, "REPLY_ECHO"); n != 6 {
		t.Errorf("%d pings were answered, want 6", n)
	}
}

func outcome(t *testing.T, b *balancer.Balancer, name string) uint64 {
	t.Helper()
	status, err := b.Status(t.Context())
	must(t, err)
	return status.Outcomes[name]
}

// arriveInVLAN moves the way of the VIPs' packets from the router to the balancer
// into a VLAN.
func arriveInVLAN(t *testing.T, l *lab.Lab) {
	t.Helper()
	const v4, v6 = "10.78.0.%d", "2001:db8:78::%d"
	for _, end := range []struct {
		host   *lab.Host
		parent string
		number int
	}{{l.Router, "eth1", 1}, {l.Balancer, "eth0", 2}} {
		parent, err := end.host.Links().LinkByName(end.parent)
		must(t, err)
		name := end.parent + ".10"
		must(t, end.host.Links().LinkAdd(&netlink.Vlan{
			LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent.Attrs().Index, TxQLen: -1}, VlanId: 10,
		}))
		up(t, end.host, name)
		must(t, end.host.AddAddress(name, netip.MustParsePrefix(fmt.Sprintf(v4+"/24", end.number))))
		must(t, end.host.AddAddress(name, netip.MustParsePrefix(fmt.Sprintf(v6+"/64", end.number))))
	}
	must(t, l.Router.AddRoute(lab.VIPNet4, netip.MustParseAddr(fmt.Sprintf(v4, 2))))
	must(t, l.Router.AddRoute(lab.VIPNet6, netip.MustParseAddr(fmt.Sprintf(v6, 2))))
}

func startArrivals(t *testing.T, b *balancer.Balancer, backend *lab.Host) {
	t.Helper()
	var listen []string
	for _, vip := range []netip.Addr{lab.VIP4(10), lab.VIP6(10)} {
		for _, l := range []struct {
			port     uint16
			protocol string
		}{{arrivals.HTTP[0], "tcp"}, {arrivals.TCP[0], "tcp"}, {arrivals.UDP[0], "udp"}, {iperf3Port, "tcp"}} {
			listen = append(listen, fmt.Sprintf("%q", netip.AddrPortFrom(vip, l.port).String()+"/"+l.protocol))
		}
	}
	must(t, b.Configure(fmt.Sprintf(`
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
state_dir  = %q
service "web" {
  listen  = [%s]
  forward = "gue"
  slots   = 251
  backend "%s" {}
}`, b.StateDir(), strings.Join(listen, ", "), backend.Addr6)))
	must(t, b.Start())
	_, err := b.AwaitReady(t.Context())
	must(t, err)
}

// upload has iperf3 send to a VIP for two seconds, and returns the bytes that the
// backend received.
func upload(t *testing.T, from *lab.Host, vip netip.Addr) int {
	t.Helper()
	var report struct {
		End struct {
			Received struct{ Bytes int } `json:"sum_received"`
		}
	}
	deadline := time.Now().Add(patience)
	for { // its server takes a moment to listen, and another one between two tests
		output, err := from.Run(t.Context(), "iperf3", "-c", vip.String(), "-p", fmt.Sprint(iperf3Port), "-t", "2", "-J")
		if err == nil {
			must(t, json.Unmarshal(output, &report))
			return report.End.Received.Bytes
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, output)
		}
	}
}
