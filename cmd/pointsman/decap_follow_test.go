package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asProgram lets this test's binary be the program: a command that stays needs a
// process, whose threads all are in the backend's namespace.
const asProgram = "POINTSMAN_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	time.Local = time.UTC // tables are the same everywhere
	os.Exit(m.Run())
}

// follower is a pointsman decap that follows a file.
type follower struct {
	road *tunnelRoad
	file string
	cmd  *exec.Cmd
	log  *os.File // of the last start
}

func (r *tunnelRoad) follow(t *testing.T, forward string, ports ...string) *follower {
	t.Helper()
	f := &follower{road: r, file: filepath.Join(t.TempDir(), "pointsman.hcl")}
	f.write(t, forward, ports...)
	f.start(t)
	t.Cleanup(func() { f.cmd.Process.Kill(); f.cmd.Wait() })
	return f
}

// write gives this host an instance of both VIPs, for TCP and UDP, on each port.
func (f *follower) write(t *testing.T, forward string, ports ...string) {
	t.Helper()
	text := fmt.Sprintf(`interfaces = ["eth0"]
vip_pools = ["192.0.2.0/24", "2001:db8:10::/64"]
service "web" {
  listen       = ["192.0.2.10:%[1]s/tcp", "192.0.2.10:%[1]s/udp", "[2001:db8:10::10]:%[1]s/tcp", "[2001:db8:10::10]:%[1]s/udp"]
  forward      = %[2]q
  port_mapping = true
  backend "10.0.0.99" {}
`, roadPort, forward)
	for _, port := range ports {
		text += fmt.Sprintf("  backend \"10.0.0.2:%s\" {}\n", port)
	}
	if err := os.WriteFile(f.file, []byte(text+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *follower) start(t *testing.T) {
	t.Helper()
	args := f.road.flags("decap", "--config", f.file, "--interface", "eth0", "--from", "10.0.0.1", "--from", "fd00::/64", "--linger", "1h")
	f.cmd = exec.Command(os.Args[0], args...)
	f.cmd.Env = append(os.Environ(), asProgram+"=1")
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	f.log, f.cmd.Stderr = log, log
	f.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// awaitDone waits until it says that the host has what it should, so many mappings.
func (f *follower) awaitDone(t *testing.T, mappings int) {
	t.Helper()
	said, deadline := "", time.Now().Add(30*time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); !strings.Contains(said, "brought up to date"); <-tick.C {
		text, err := os.ReadFile(f.log.Name())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("it says %q, %v", text, err)
		}
		said = string(text)
	}
	table := f.road.run(t, "--mappings", "--interface", "eth0")
	if strings.Count(table, "\n") != 1+mappings {
		t.Fatalf("not %d mappings:\n%s", mappings, table)
	}
}

// The host has what the file says: after a start, a change, and a start after a
// kill, with a connection that goes on through all of it.
func TestPrivilegedDecapFollowsAFile(t *testing.T) {
	for _, forward := range []string{"ipip", "gue"} {
		t.Run(forward, func(t *testing.T) {
			road := newTunnelRoad(t)
			before := road.snapshot(t)
			f := road.follow(t, forward, "20001")
			f.awaitDone(t, 4)
			if road.gue.Store(forward == "gue"); forward == "gue" {
				road.named.Store(20001)
			}
			for _, vip := range []netip.Addr{roadVIP4, roadVIP6} {
				road.serveOn(t, vip, "20001")
			}
			answers := func(when string) {
				t.Helper()
				road.everyWay(false, func(vip netip.Addr) {
					for _, network := range []string{"udp", "tcp"} {
						if err := road.ask(network, vip); err != nil {
							t.Errorf("%s: %s to %s: %v", when, network, vip, err)
						}
					}
				})
			}
			answers("at first")
			conn := road.connect(t)
			defer conn.Close()

			f.cmd.Process.Kill()
			f.cmd.Wait()
			answers("without it")
			if forward == "gue" {
				f.write(t, forward, "20001", "20002")
			}
			f.start(t)
			f.awaitDone(t, map[string]int{"ipip": 4, "gue": 8}[forward])
			answers("after another start")
			echo(t, conn, "still the same connection")
			f.cmd.Process.Signal(unix.SIGTERM)
			if err := f.cmd.Wait(); err != nil {
				t.Errorf("ending it: %v", err)
			}
			answers("after its end")
			echo(t, conn, "and still")
			road.run(t, "--off")
			road.isAsBefore(t, before)
		})
	}
}

func (r *tunnelRoad) connect(t *testing.T) net.Conn {
	t.Helper()
	var conn net.Conn
	err := r.asTester(func() (err error) {
		conn, err = net.DialTimeout("tcp", net.JoinHostPort(roadVIP4.String(), roadPort), 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func echo(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, len(line))
	if _, err := conn.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(answer); err != nil || string(answer) != line {
		t.Fatalf("%q: %q, %v", line, answer, err)
	}
}
