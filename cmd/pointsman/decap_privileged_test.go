package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A tunnel packet that a balancer sends reaches a server on the VIP, the answer
// goes to the client directly, and --off leaves no trace: in every mode, for
// every mix of families, over UDP and TCP.
func TestPrivilegedDecapServesAndLeavesNoTrace(t *testing.T) {
	for mode, attached := range map[string]string{"auto": "native", "xdp": "native", "generic": "generic", "tc": "tc"} {
		t.Run(mode, func(t *testing.T) {
			road := newTunnelRoad(t)
			before := road.snapshot(t)
			report := road.decap(t, "--mode", mode, "--from", "10.0.0.1", "--from", "fd00::/64", "-o", "json")
			if !strings.Contains(report, fmt.Sprintf(`"mode": %q`, attached)) {
				t.Errorf("not attached as %s: %s", attached, report)
			}
			// What the kernel cannot do, the command has to say.
			oneFamily := strings.Contains(report, "before Linux 6.3, tc cannot")
			least := uint64(0)
			for _, vip := range []netip.Addr{roadVIP4, roadVIP6} {
				road.serve(t, vip)
				for _, outer6 := range []bool{false, true} {
					if oneFamily && outer6 != vip.Is6() {
						continue
					}
					road.outer6.Store(outer6)
					for _, gue := range []bool{false, true} {
						road.gue.Store(gue)
						for _, network := range []string{"udp", "tcp"} {
							if err := road.ask(network, vip); err != nil {
								t.Errorf("%s to %s, in a tunnel of IPv6: %v, in GUE: %v: %v", network, vip, outer6, gue, err)
							}
						}
						least += 1 + 4
					}
				}
			}
			if n := road.counters(t)["DECAPSULATE"]; n < least {
				t.Errorf("only %d packets were counted as decapsulated", n)
			}
			road.run(t, "--off")
			road.isAsBefore(t, before)
		})
	}
}

// Any address of a prefix is this host's, and of no other.
func TestPrivilegedDecapAnswersForAllAddressesOfAPrefix(t *testing.T) {
	for _, mode := range []string{"auto", "tc"} {
		t.Run(mode, func(t *testing.T) {
			road := newTunnelRoad(t)
			before := road.snapshot(t)
			flags := []string{"--mode", mode, "--vip", "192.0.2.0/28", "--vip", "2001:db8:10::/64", "--from", "10.0.0.1", "--from", "fd00::/64"}
			road.run(t, flags...)
			road.serve(t, netip.IPv6Unspecified())
			for _, vip := range []netip.Addr{roadVIP4, roadVIP6} {
				if err := road.ask("tcp", vip); err != nil {
					t.Errorf("%s: %v", vip, err)
				}
			}
			if again := road.run(t, flags...); strings.Contains(again, "made") {
				t.Errorf("once more made:\n%s", again)
			}
			road.run(t, "--off")
			road.isAsBefore(t, before)
		})
	}
}

// The same host, prepared twice and with other options in between.
func TestPrivilegedDecapIsRepeatable(t *testing.T) {
	road := newTunnelRoad(t)
	before := road.snapshot(t)
	road.decap(t, "--from", "10.0.0.1")
	first := road.snapshot(t)
	if again := road.decap(t, "--from", "10.0.0.1"); strings.Contains(again, "made") {
		t.Errorf("once more made:\n%s", again)
	}
	if second := road.snapshot(t); withoutPrograms(first) != withoutPrograms(second) {
		t.Errorf("once more changed\n%s\nto\n%s", first, second)
	}
	road.run(t, "--vip", roadVIP6.String(), "--no-program")
	if now := road.snapshot(t); strings.Contains(now, roadVIP4.String()) || !strings.Contains(now, roadVIP6.String()) {
		t.Errorf("with another VIP:\n%s", now)
	}
	road.run(t, "--off")
	road.isAsBefore(t, before)
}

// What was there before stays, down to a VIP on lo.
func TestPrivilegedDecapOffKeepsWhatWasThere(t *testing.T) {
	road := newTunnelRoad(t)
	if err := road.addVIP(roadVIP4); err != nil {
		t.Fatal(err)
	}
	before := road.snapshot(t)
	road.decap(t, "--from", "10.0.0.1")
	road.run(t, "--off", "--interface", "eth0")
	road.isAsBefore(t, before)
}

func TestPrivilegedDecapSaysWhatIsWrongWithTheHost(t *testing.T) {
	road := newTunnelRoad(t)
	before := road.snapshot(t)
	code, _, stderr := pointsmanDecap(road.flags("--vip", "192.0.2.10", "--vip", "127.0.0.1", "--from", "10.0.0.1", "--interface", "eth9")...)
	if code != exitFailure || !strings.Contains(stderr, "no interface eth9") || !strings.Contains(stderr, "127.0.0.1 cannot be a VIP") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	road.isAsBefore(t, before)
}

// decap switches on for both VIPs.
func (r *tunnelRoad) decap(t *testing.T, args ...string) string {
	t.Helper()
	return r.run(t, append([]string{"--vip", roadVIP4.String(), "--vip", roadVIP6.String()}, args...)...)
}

func (r *tunnelRoad) run(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := pointsmanDecap(r.flags(args...)...)
	if code != exitOK {
		t.Fatalf("decap %v: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

func (r *tunnelRoad) flags(args ...string) []string {
	return append(args, "--state-file", r.stateFile, "--pin-dir", r.pinDir)
}

func (r *tunnelRoad) counters(t *testing.T) map[string]uint64 {
	t.Helper()
	var document struct{ Outcomes map[string]uint64 }
	if err := json.Unmarshal([]byte(r.run(t, "--counters", "-o", "json")), &document); err != nil {
		t.Fatal(err)
	}
	return document.Outcomes
}

func (r *tunnelRoad) isAsBefore(t *testing.T, before string) {
	t.Helper()
	if after := r.snapshot(t); after != before {
		t.Errorf("the host is\n%s\nand was\n%s", after, before)
	}
	for _, path := range []string{r.stateFile, filepath.Join(r.pinDir, "decap")} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there", path)
		}
	}
}

const roadPort = "7007"

// serve answers on the VIP with what it is sent, until the test ends.
func (r *tunnelRoad) serve(t *testing.T, vip netip.Addr) {
	t.Helper()
	r.serveOn(t, vip, roadPort)
}

func (r *tunnelRoad) serveOn(t *testing.T, vip netip.Addr, port string) {
	t.Helper()
	address := net.JoinHostPort(vip.String(), port)
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	streams, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { streams.Close() })
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			packets.WriteTo(buffer[:n], from)
		}
	}()
	go func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			go func() { // each on its own: one may end without a word of its client
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
}

// ask sends a client's question to the VIP and waits for the answer.
func (r *tunnelRoad) ask(network string, vip netip.Addr) error {
	var conn net.Conn
	err := r.asTester(func() (err error) {
		conn, err = net.DialTimeout(network, net.JoinHostPort(vip.String(), roadPort), 5*time.Second)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	question := strings.Repeat("points", 150)
	if _, err := io.WriteString(conn, question); err != nil {
		return err
	}
	answer := make([]byte, len(question))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != question {
		return fmt.Errorf("got %q", answer)
	}
	return nil
}
