package stories

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// narrow has the same MTU everywhere, so that a client's full packet does not fit
// with an outer header.
var narrow = lab.Options{Backends: 1, MTU: lab.ClientMTU}

// tightRoad is a way on which packets of fits bytes just fit.
type tightRoad struct {
	road
	fits int
}

func tightRoads() []tightRoad {
	var all []tightRoad
	for _, r := range []struct {
		forward, outer string
		fits           int
	}{{"ipip", "4", 1480}, {"ipip", "6", 1460}, {"gue", "4", 1468}, {"gue", "6", 1448}} {
		for _, inner := range []string{"4", "6"} {
			promise := fmt.Sprintf("IPv%s by %s over IPv%s", inner, r.forward, r.outer)
			all = append(all, tightRoad{road{promise, r.forward, inner, fmt.Sprintf("{{v%s 1}}", r.outer), "backend-1"}, r.fits})
		}
	}
	return all
}

func TestPrivilegedClientsLearnHowLongPacketsToAVIPMayBe(t *testing.T) {
	var services strings.Builder
	var numbers []byte
	// Three VIPs a road: what the client has learned of one path, it knows for long.
	for i, r := range tightRoads() {
		n := byte(3*i + 1)
		numbers = append(numbers, n, n+1, n+2)
		fmt.Fprintf(&services, `
service "road-%d" {
  listen  = ["%s:7000/tcp", "%s:53/udp", "%s:53/udp"]
  forward = %q
  slots   = 251
  backend "%s" {}
}`, n, r.vip(n), r.vip(n+1), r.vip(n+2), r.forward, r.backend)
	}
	s := open(t, narrow, numbers...)
	s.begin(services.String())
	s.overhear()
	for i, r := range tightRoads() {
		t.Run("a connection that sends full segments, "+r.promise, func(t *testing.T) {
			s.in(t).learnsByTCP(r.vip(numbers[3*i])+":7000", r)
		})
		t.Run("datagrams that must not be fragmented, "+r.promise, func(t *testing.T) {
			s.in(t).learnsByUDP(r.vip(numbers[3*i+1])+":53", r)
		})
		if r.clients == "6" {
			continue // only the sender fragments there anyway
		}
		t.Run("datagrams that may be fragmented, "+r.promise, func(t *testing.T) {
			s.in(t).learnsToFragment(r.vip(numbers[3*i+2])+":53", r)
		})
	}
	if n := s.outcome("DROP_TOO_BIG"); n != 0 {
		t.Errorf("%d packets were too big and nobody was told", n)
	}
}

// By l2 a packet fits as it is, unless the backends' segment takes shorter ones than
// the clients'.
func TestPrivilegedClientsLearnThatASegmentOfBackendsIsNarrower(t *testing.T) {
	s := open(t, lab.Options{SecondSegment: 1}, 1, 2)
	segment, err := s.Host.Links().LinkByName("eth1")
	s.must(err)
	s.must(s.Host.Links().LinkSetMTU(segment, tight))
	s.interfaces = `["eth0", "eth1"]`
	s.begin(fmt.Sprintf(`
service "l2" {
  listen  = ["%s:7000/tcp", "[%s]:7000/tcp", "%s:53/udp", "[%s]:53/udp"]
  forward = "l2"
  slots   = 251
  backend "{{v4 1}}" {}
}`, lab.VIP4(1), lab.VIP6(1), lab.VIP4(2), lab.VIP6(2)))
	s.overhear()
	for _, clients := range []string{"4", "6"} {
		r := tightRoad{road{"IPv" + clients + " by l2", "l2", clients, "{{v4 1}}", "backend-1"}, tight}
		t.Run("a connection that sends full segments, "+r.promise, func(t *testing.T) { s.in(t).learnsByTCP(r.vip(1)+":7000", r) })
		t.Run("datagrams that must not be fragmented, "+r.promise, func(t *testing.T) { s.in(t).learnsByUDP(r.vip(2)+":53", r) })
	}
}

func (s *stage) learnsByTCP(vip string, r tightRoad) {
	s.t.Helper()
	before := s.outcome("REPLY_TOO_BIG")
	s.fullSegments(vip, r.name)
	if s.outcome("REPLY_TOO_BIG") == before {
		s.t.Error("nobody was told of a packet that is too big")
	}
	conn, err := s.Lab.Client.Dial(s.t.Context(), "udp", vip)
	s.must(err)
	defer conn.Close()
	if got := s.pathMTU(conn, r); got != r.fits {
		s.t.Errorf("the client takes packets of %d bytes to fit, want %d", got, r.fits)
	}
}

// learnsByUDP sends a datagram as long as the client's own wire takes, and then
// what the client says would fit.
func (s *stage) learnsByUDP(vip string, r tightRoad) {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "udp", vip)
	s.must(err)
	defer conn.Close()
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	headers := 28
	if r.clients == "6" {
		headers = 48
	}
	s.neverFragment(conn, r)
	_, err = conn.Write(make([]byte, lab.ClientMTU-headers))
	s.must(err)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.EMSGSIZE) {
		s.t.Fatalf("the application was told %v, want that its message is too long", err)
	}
	if got := s.pathMTU(conn, r); got != r.fits {
		s.t.Fatalf("the client takes packets of %d bytes to fit, want %d", got, r.fits)
	}
	if _, err := conn.Write(make([]byte, r.fits-headers+1)); !errors.Is(err, syscall.EMSGSIZE) {
		s.t.Errorf("a datagram that is a byte too long was sent: %v", err)
	}
	_, err = conn.Write(make([]byte, r.fits-headers))
	s.must(err)
	answer := make([]byte, 65536)
	n, err := conn.Read(answer)
	s.must(err)
	if want := len(r.name) + 1 + r.fits - headers; n != want || !strings.HasPrefix(string(answer[:n]), r.name) {
		s.t.Errorf("%d bytes came back, want %d from %s", n, want, r.name)
	}
}

func (s *stage) outcome(name string) uint64 {
	s.t.Helper()
	return s.status().Outcomes[name]
}

// learnsToFragment sends datagrams that may be fragmented on the way. Linux puts
// DF into none of them, and learns from the refusal all the same.
func (s *stage) learnsToFragment(vip string, r tightRoad) {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "udp", vip)
	s.must(err)
	defer conn.Close()
	s.control(conn, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	})
	before := s.outcome("REPLY_TOO_BIG_NO_DF")
	question := strings.Repeat("x", lab.ClientMTU-28)
	_, err = conn.Write([]byte(question))
	s.must(err)
	s.await("the client was told", func() error {
		if n := s.outcome("REPLY_TOO_BIG_NO_DF") - before; n != 1 {
			return fmt.Errorf("%d packets without DF were refused", n)
		}
		return nil
	})
	s.await("the client has learned", func() error {
		if mtu := s.pathMTU(conn, r); mtu != r.fits {
			return fmt.Errorf("it takes packets of %d bytes to fit, want %d", mtu, r.fits)
		}
		return nil
	})
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte(question))
	s.must(err)
	answer := make([]byte, 65536)
	n, err := conn.Read(answer)
	s.must(err)
	if want := r.name + " " + question; string(answer[:n]) != want {
		s.t.Errorf("%d bytes came back, want %d from %s", n, len(want), r.name)
	}
}

func (s *stage) neverFragment(conn net.Conn, r tightRoad) {
	s.t.Helper()
	s.control(conn, func(fd int) error {
		if r.clients == "6" {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
}

// pathMTU is what the client's kernel takes to fit.
func (s *stage) pathMTU(conn net.Conn, r tightRoad) (mtu int) {
	s.t.Helper()
	s.control(conn, func(fd int) (err error) {
		if r.clients == "6" {
			mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
		} else {
			mtu, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
		}
		return err
	})
	return mtu
}

func (s *stage) control(conn net.Conn, f func(fd int) error) {
	s.t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	s.must(err)
	var failed error
	s.must(raw.Control(func(fd uintptr) { failed = f(int(fd)) }))
	s.must(failed)
}
