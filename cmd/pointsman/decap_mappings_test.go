package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mapped are flags that let servers of both VIPs listen on these ports.
func mapped(ports ...string) []string {
	var flags []string
	for _, vip := range []netip.Addr{roadVIP4, roadVIP6} {
		for _, protocol := range []string{"tcp", "udp"} {
			for _, port := range ports {
				flags = append(flags, "--map", net.JoinHostPort(vip.String(), roadPort)+"/"+protocol+"="+port)
			}
		}
	}
	return flags
}

// everyWay calls f for each family of the VIP and of the tunnel that the mode can do.
func (r *tunnelRoad) everyWay(oneFamily bool, f func(vip netip.Addr)) {
	for _, vip := range []netip.Addr{roadVIP4, roadVIP6} {
		for _, outer6 := range []bool{false, true} {
			if oneFamily && outer6 != vip.Is6() {
				continue
			}
			r.outer6.Store(outer6)
			f(vip)
		}
	}
}

// Who asks a VIP's port is answered by servers on others, from the VIP's port:
// the kernel's own sockets would take nothing else.
func TestPrivilegedDecapMapsPortsInBothDirections(t *testing.T) {
	for _, mode := range []string{"xdp", "generic", "tc"} {
		t.Run(mode, func(t *testing.T) {
			road := newTunnelRoad(t)
			before := road.snapshot(t)
			flags := append(mapped("20001", "20002"), "--mode", mode, "--from", "10.0.0.1", "--from", "fd00::/64", "-o", "json")
			report := road.decap(t, flags...)
			road.gue.Store(true)
			road.serveOn(t, netip.IPv6Unspecified(), "20001")
			road.everyWay(strings.Contains(report, "before Linux 6.3, tc cannot"), func(vip netip.Addr) {
				road.named.Store(20001)
				if err := road.ask("tcp", vip); err != nil {
					t.Errorf("%s: %v", vip, err)
				}
				// Nobody listens there: the refusal, and the ICMP error, must be of the port that was asked.
				road.named.Store(20002)
				for _, network := range []string{"udp", "tcp"} {
					if err := road.ask(network, vip); !errors.Is(err, unix.ECONNREFUSED) {
						t.Errorf("%s to %s, where nobody listens: %v", network, vip, err)
					}
				}
			})
			if n := road.counters(t)["PASS_MAPPED_BACK"]; n == 0 {
				t.Error("no packet was counted as mapped back")
			}
			road.run(t, "--off")
			road.isAsBefore(t, before)
		})
	}
}

// The only instance of a host needs no name, under IP in IP and GUE alike.
func TestPrivilegedDecapMapsTheOnlyInstanceOfAHost(t *testing.T) {
	road := newTunnelRoad(t)
	before := road.snapshot(t)
	road.decap(t, append(mapped("20001"), "--from", "10.0.0.1", "--from", "fd00::/64")...)
	for _, vip := range []netip.Addr{roadVIP4, roadVIP6} {
		road.serveOn(t, vip, "20001")
	}
	road.everyWay(false, func(vip netip.Addr) {
		for _, way := range []struct {
			gue  bool
			port uint32
		}{{false, 0}, {true, 0}, {true, 20001}} {
			road.gue.Store(way.gue)
			road.named.Store(way.port)
			for _, network := range []string{"udp", "tcp"} {
				if err := road.ask(network, vip); err != nil {
					t.Errorf("%s to %s, in GUE: %v, which names port %d: %v", network, vip, way.gue, way.port, err)
				}
			}
		}
	})
	// The port that was mapped is free again for who listens on the VIP's own.
	road.decap(t, "--from", "10.0.0.1", "--from", "fd00::/64")
	road.gue.Store(false)
	for _, vip := range []netip.Addr{roadVIP4, roadVIP6} {
		road.serve(t, vip)
		if err := road.ask("tcp", vip); err != nil {
			t.Errorf("%s, not mapped any more: %v", vip, err)
		}
	}
	road.run(t, "--off")
	road.isAsBefore(t, before)
}

// A connection goes on while mappings come and go around it, and while the
// program is attached anew.
func TestPrivilegedDecapChangesMappingsUnderAConnection(t *testing.T) {
	road := newTunnelRoad(t)
	from := []string{"--from", "10.0.0.1"}
	road.decap(t, append(mapped("20001", "20002"), from...)...)
	road.serveOn(t, netip.IPv6Unspecified(), "20001")
	road.gue.Store(true)
	road.named.Store(20001)
	var conn net.Conn
	err := road.asTester(func() (err error) {
		conn, err = net.DialTimeout("tcp", net.JoinHostPort(roadVIP4.String(), roadPort), 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n, ports := range [][]string{{"20001", "20003"}, {"20001"}, {"20001", "20004", "20005"}, {"20001", "20002"}} {
		road.decap(t, append(mapped(ports...), from...)...)
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		line := fmt.Sprintf("change %d\n", n)
		answer := make([]byte, len(line))
		if _, err := conn.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(answer); err != nil || string(answer) != line {
			t.Fatalf("after %v: %q, %v", ports, answer, err)
		}
	}
}

func TestPrivilegedDecapListsItsMappings(t *testing.T) {
	road := newTunnelRoad(t)
	road.decap(t, append(mapped("20001"), "--from", "10.0.0.1")...)
	var document struct {
		Interface string
		Mappings  []mappingRow
	}
	if err := json.Unmarshal([]byte(road.run(t, "--mappings", "-o", "json")), &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Mappings) != 8 || document.Mappings[0] != (mappingRow{"192.0.2.10:7007/tcp", 20001, false}) {
		t.Errorf("%+v", document)
	}
	if table := road.run(t, "--mappings"); !strings.Contains(table, "[2001:db8:10::10]:7007/udp") {
		t.Error(table)
	}
}

func TestPrivilegedDecapRefusesMappingsThatCannotBeTold(t *testing.T) {
	road := newTunnelRoad(t)
	before := road.snapshot(t)
	for flags, want := range map[string]string{
		"--map 192.0.2.10:443/tcp=8080 --map 192.0.2.10:80/tcp=8080": "192.0.2.10:80/tcp cannot be mapped to port 8080: 192.0.2.10:443/tcp is mapped there already",
		"--map 192.0.2.10:443/tcp=80 --map 192.0.2.10:80/tcp=8080":   "that is a port of 192.0.2.10:80/tcp",
		"--map 192.0.2.11:443/tcp=8443":                              "192.0.2.11 is not one of the VIPs",
		"--map 192.0.2.10:443/tcp=8443 --out eth9":                   "there is no interface eth9 for answers to leave by",
	} {
		args := road.flags(append(strings.Fields(flags), "--vip", "192.0.2.10", "--from", "10.0.0.1")...)
		code, _, stderr := pointsmanDecap(args...)
		if code != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", flags, code, stderr)
		}
	}
	road.isAsBefore(t, before)
}
