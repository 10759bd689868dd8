package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func privileged(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building network namespaces needs root")
	}
}

func TestPrivilegedEveryBackendAnswersClientAndBalancerWithItsName(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{Backends: 2, SecondSegment: 1, Behind: 1})
	if len(l.Backends) != 4 {
		t.Fatalf("%d backends, want 4", len(l.Backends))
	}
	for _, from := range []*Host{l.Client, l.Balancer} {
		for _, backend := range l.Backends {
			for _, addr := range []netip.Addr{backend.Addr4, backend.Addr6} {
				for _, kind := range []struct {
					name string
					ask  func(*Host, netip.Addr) (string, error)
				}{{"HTTP", askHTTP}, {"TCP", askTCP}, {"UDP", askUDP}} {
					answer, err := kind.ask(from, addr)
					if err != nil || answer != backend.Name {
						t.Errorf("%s from %s to %s of %s answered %q, %v", kind.name, from.Name, addr, backend.Name, answer, err)
					}
				}
			}
		}
	}
}

func TestPrivilegedUDPServersAnswerFromTheAddressThatWasAsked(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{Backends: 1})
	backend := l.Backends[0]
	for _, vip := range []netip.Addr{VIP4(10), VIP6(10)} {
		prefix := netip.PrefixFrom(vip, vip.BitLen())
		if err := backend.AddAddress("lo", prefix); err != nil {
			t.Fatal(err)
		}
		via := backend.Addr4
		if vip.Is6() {
			via = backend.Addr6
		}
		if err := l.Router.AddRoute(prefix, via); err != nil {
			t.Fatal(err)
		}
		// The client's socket is connected: it hears the VIP only.
		if answer, err := askUDP(l.Client, vip); err != nil || answer != backend.Name {
			t.Errorf("%s answered %q, %v", vip, answer, err)
		}
	}
}

func TestPrivilegedABackendThatIsKilledOrUnpluggedDoesNotAnswerUntilItIsBack(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{Backends: 1})
	b := l.Backends[0]
	check := func(state string, answers bool) {
		t.Helper()
		if _, err := askTCP(l.Client, b.Addr4); (err == nil) != answers {
			t.Errorf("a backend that is %s: %v", state, err)
		}
	}
	check("up", true)
	b.Kill()
	check("killed", false)
	if err := b.Revive(); err != nil {
		t.Fatal(err)
	}
	check("revived", true)
	if err := b.Unplug(); err != nil {
		t.Fatal(err)
	}
	check("unplugged", false)
	if err := b.Plug(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		_, err := askTCP(l.Client, b.Addr4)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a backend that is plugged in again: %v", err)
		}
	}
}

func TestPrivilegedHealthzFollowsSetWell(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{Backends: 1})
	for _, well := range []bool{true, false, true} {
		l.Backends[0].SetWell(well)
		status, _, err := get(l.Client, l.Backends[0].Addr6, "/healthz")
		if err != nil || (status == http.StatusOK) != well {
			t.Errorf("well is %v: status %d, %v", well, status, err)
		}
	}
}

func TestPrivilegedProcessesRunInsideWithBPFVisible(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{Backends: 1})
	b := l.Backends[0]
	out, err := b.Run(t.Context(), "readlink", "/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(out)) == home {
		t.Error("the process ran in the namespace of the test")
	}
	if out, err := b.Run(t.Context(), "stat", "-f", "-c", "%T", bpffs); err != nil || strings.TrimSpace(string(out)) != "bpf_fs" {
		t.Errorf("%s is a %s, %v", bpffs, out, err)
	}
	p, err := b.Start(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("the process outlived the lab")
	}
}

func TestPrivilegedNothingIsLeftAfterClose(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{Backends: 1, SecondSegment: 1, Behind: 1})
	if err := os.WriteFile(filepath.Join(l.Dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(l.PinDir, "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	if len(Remains(l.Prefix)) < 10 {
		t.Fatalf("a lab that is up shows as %v only", Remains(l.Prefix))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if remains := Remains(l.Prefix); len(remains) > 0 {
		t.Errorf("left behind: %v", remains)
	}
}

func askHTTP(from *Host, to netip.Addr) (string, error) {
	_, body, err := get(from, to, "/")
	return strings.TrimSpace(body), err
}

func get(from *Host, to netip.Addr, path string) (int, string, error) {
	client := http.Client{Transport: &http.Transport{DialContext: from.Dial, DisableKeepAlives: true}, Timeout: time.Second}
	resp, err := client.Get(fmt.Sprintf("http://%s%s", netip.AddrPortFrom(to, DefaultPorts.HTTP[0]), path))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func askTCP(from *Host, to netip.Addr) (string, error) {
	conn, err := dialBriefly(from, "tcp", netip.AddrPortFrom(to, DefaultPorts.TCP[0]))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	question := strings.Repeat("x", 3000) // several frames
	fmt.Fprintln(conn, question)
	lines := bufio.NewReader(conn)
	greeting, err := lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	answer, err := lines.ReadString('\n')
	if name := strings.TrimSpace(greeting); answer == name+" "+question+"\n" {
		return name, err
	}
	return "", errors.Join(err, fmt.Errorf("answer %q", answer))
}

func askUDP(from *Host, to netip.Addr) (string, error) {
	conn, err := dialBriefly(from, "udp", netip.AddrPortFrom(to, DefaultPorts.UDP[0]))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	question := strings.Repeat("x", 1400) // a full frame
	fmt.Fprint(conn, question)
	answer := make([]byte, 2000)
	n, err := conn.Read(answer)
	name, rest, _ := strings.Cut(string(answer[:n]), " ")
	if err == nil && rest != question {
		err = fmt.Errorf("answer %q", answer[:n])
	}
	return name, err
}

func dialBriefly(from *Host, network string, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(time.Second))
}
