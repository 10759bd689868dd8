//go:build kernels

package devices

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

// patience is for what takes milliseconds on a real machine, not an emulated one.
const patience = 10 * time.Second

// road is a mix of families in a mode, and the device that takes packets of it
// from their tunnel.
type road struct {
	forward          string
	clients, backend string // families
	device           string
	host             *lab.Host
}

func (r road) String() string {
	return fmt.Sprintf("IPv%s by %s over IPv%s, by %s of %s", r.clients, r.forward, r.backend, r.device, r.host.Name)
}

// vip is README's.
func (r road) vip() netip.Addr {
	if r.clients == "4" {
		return lab.VIP4(10)
	}
	return lab.VIP6(0x10)
}

func (r road) address() netip.Addr {
	if r.backend == "4" {
		return r.host.Addr4
	}
	return r.host.Addr6
}

// roads are each device on a host of its own, and a host that serves all clients
// by all of its addresses.
func roads(hosts []*lab.Host) (all []road) {
	for _, forward := range []string{"ipip", "gue"} {
		for i, r := range []road{
			{forward, "4", "4", "pm44", hosts[0]}, {forward, "6", "4", "pm64", hosts[1]},
			{forward, "4", "6", "pm46", hosts[2]}, {forward, "6", "6", "pm66", hosts[3]},
		} {
			all = append(all, r)
			r.host = hosts[4]
			if i >= 2 {
				r.device = "pm6"
			}
			all = append(all, r)
		}
	}
	return all
}

func TestPrivilegedTheKernelsOwnTunnelDevicesServeAsREADMESays(t *testing.T) {
	b := newBalancer(t)
	readme := readREADME(t)
	for _, h := range b.Lab.Backends[:4] {
		for _, r := range roads(b.Lab.Backends) {
			if r.host == h && r.forward == "ipip" {
				readme.follow(t, b, h, []string{r.device}, readme.withTheBinary)
			}
		}
	}
	readme.follow(t, b, b.Lab.Backends[4], []string{"pm44", "pm64", "pm6"}, readme.withoutTheBinary)
	start(t, b)
	for i, r := range roads(b.Lab.Backends) {
		t.Run(r.String(), func(t *testing.T) {
			before := received(t, r)
			for kind, port := range portsOf(i) {
				ask(t, traffic.Load{From: b.Lab.Client, Kind: kind, To: netip.AddrPortFrom(r.vip(), port)}, r.host.Name)
			}
			if n := received(t, r) - before; n < 3*requests {
				t.Errorf("%s has taken %d packets: who has taken the others?", r.device, n)
			}
		})
	}
}

// portsOf are those of the nth road: VIPs differ in nothing else, because README
// has but two.
func portsOf(n int) map[traffic.Kind]uint16 {
	return map[traffic.Kind]uint16{traffic.HTTP: 8000 + uint16(n), traffic.TCP: 7000 + uint16(n), traffic.UDP: 5300 + uint16(n)}
}

func newBalancer(t *testing.T) *balancer.Balancer {
	t.Helper()
	var ports lab.Ports
	for i := range roads(make([]*lab.Host, 5)) {
		of := portsOf(i)
		ports.HTTP = append(ports.HTTP, of[traffic.HTTP])
		ports.TCP = append(ports.TCP, of[traffic.TCP])
		ports.UDP = append(ports.UDP, of[traffic.UDP])
	}
	program, err := balancer.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := balancer.New(lab.ForTest(t, lab.Options{Backends: 5, Ports: ports}), program)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("clearing up: %v", err)
		}
	})
	for _, h := range b.Lab.Backends {
		// Reverse path filtering is strict, so that README has to change it.
		for _, of := range []string{"all", "default", "eth0"} {
			if err := h.Sysctl("net/ipv4/conf/"+of+"/rp_filter", "1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

func start(t *testing.T, b *balancer.Balancer) {
	t.Helper()
	text := `
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
state_dir  = "` + b.StateDir() + `"
`
	for i, r := range roads(b.Lab.Backends) {
		var listen []string
		for kind, port := range portsOf(i) {
			protocol := "tcp"
			if kind == traffic.UDP {
				protocol = "udp"
			}
			listen = append(listen, fmt.Sprintf("%q", netip.AddrPortFrom(r.vip(), port).String()+"/"+protocol))
		}
		text += fmt.Sprintf(`
service "road-%d" {
  listen  = [%s]
  forward = %q
  slots   = 251
  backend "%s" {}
}`, i, strings.Join(listen, ", "), r.forward, r.address())
	}
	if err := b.Configure(text); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const requests = 10

// ask checks that a backend answers every request to a VIP.
func ask(t *testing.T, load traffic.Load, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	load.Requests, load.Workers, load.Timeout = requests, 2, patience/2
	answers := load.Run(ctx)
	if failed := answers.Failed(); len(failed) > 0 {
		t.Fatalf("%s to %s: %d of %d requests got no answer, the first: %v", load.Kind, load.To, len(failed), len(answers), failed[0].Err)
	}
	if n := answers.Counts()[name]; n != requests {
		t.Errorf("%s to %s: %s answered %d of %d requests", load.Kind, load.To, name, n, requests)
	}
}

// received is how many packets have come out of the road's device.
func received(t *testing.T, r road) uint64 {
	t.Helper()
	link, err := r.host.Links().LinkByName(r.device)
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs().Statistics.RxPackets
}

// follow types what README says, on a host and with its addresses.
func (d readme) follow(t *testing.T, b *balancer.Balancer, h *lab.Host, devices []string, rest string) {
	t.Helper()
	places := fmt.Sprintf("--pin-dir %s --state-file %s", filepath.Join(b.Lab.PinDir, h.Name), filepath.Join(b.Lab.Dir, h.Name+".json"))
	// Hosts of a lab share the file systems of this machine.
	script := fmt.Sprintf("pointsman() { %s \"$@\" %s; }\n", b.Binary, places)
	script += "modprobe() { :; }\n" + d.gue // they are loaded
	for _, device := range devices {
		add, known := d.devices[device]
		if !known {
			t.Fatalf("README.md does not say how to add %s", device)
		}
		script += add + "\n" + strings.ReplaceAll(d.perDevice, "pm44", device) + "\n"
	}
	script = strings.NewReplacer(
		"10.20.0.11", h.Addr4.String(), "10.20.0.2", b.Lab.Balancer.Addr4.String(),
		"fd00:20::11", h.Addr6.String(), "fd00:20::2", b.Lab.Balancer.Addr6.String(),
	).Replace(script + rest)
	if _, err := h.Run(t.Context(), "sh", "-exc", script); err != nil {
		t.Fatal(err)
	}
}

func readREADME(t *testing.T) readme {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	d, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
