package stories

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// mediaVIP is an address of media's VIP.
const mediaVIP = "192.0.2.30:443"

// As many backends as there are names, so that the file can add one.
func media(backends int) string { return mediaOn(mediaVIP, backends) }

func mediaOn(listen string, backends int) string {
	text := `
service "media" {
  listen   = ["` + listen + `/udp"]
  affinity = "quic"
  slots    = 251
  quic { length = 2 }
`
	for n := range backends {
		text += fmt.Sprintf("  backend \"{{v4 %d}}\" {}\n", n+1)
	}
	return text + "}"
}

const connectionID = 8

// serveQUIC answers as a QUIC server would, as far as a balancer can see: to a
// client's first packet with a connection ID of its own, in whose second and third
// bytes is the end of its address; to all others with its name alone.
func (s *stage) serveQUIC(h *lab.Host, vip string) {
	s.t.Helper()
	packets, err := h.ListenPacket("udp4", vip)
	s.must(err)
	s.t.Cleanup(func() { packets.Close() })
	addr := h.Addr4.As4()
	go func() {
		packet := make([]byte, 2048)
		for {
			n, client, err := packets.ReadFrom(packet)
			if err != nil {
				return
			}
			id := []byte{0x11, addr[2], addr[3], 4, 5, 6, 7, 8}
			if n > 0 && packet[0]&0x80 != 0 {
				_, _ = packets.WriteTo(append(id, h.Name...), client) // a client that hears nothing fails the test
			} else {
				_, _ = packets.WriteTo(append(make([]byte, connectionID), h.Name...), client)
			}
		}
	}()
}

// exchange sends a packet and returns the connection ID and the name that come back.
func (s *stage) exchange(conn net.Conn, packet []byte) (id []byte, name string) {
	s.t.Helper()
	answer := make([]byte, 2048)
	for deadline := time.Now().Add(patience); ; {
		_, err := conn.Write(packet)
		s.must(err)
		s.must(conn.SetReadDeadline(time.Now().Add(2 * time.Second))) // a datagram may be lost
		n, err := conn.Read(answer)
		if err == nil {
			return answer[:connectionID], string(answer[connectionID:n])
		}
		if time.Now().After(deadline) {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) dialMedia(vip string) net.Conn {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "udp", vip)
	s.must(err)
	return conn
}

// quicConnection is one whose server has chosen its ID.
type quicConnection struct {
	vip  string
	id   []byte
	name string
}

// connect opens connections, each with a first packet whose ID is the client's.
func (s *stage) connect(vip string, count int) (connections []quicConnection) {
	s.t.Helper()
	for n := range count {
		conn := s.dialMedia(vip)
		initial := append([]byte{0xc3, 0, 0, 0, 1, connectionID}, 0xee, 0xee, byte(n), 1, 2, 3, 4, 5)
		id, name := s.exchange(conn, initial)
		connections = append(connections, quicConnection{vip, append([]byte(nil), id...), name})
		conn.Close()
	}
	return connections
}

// stay wants connections to go on where they are, from ports that are new.
func (s *stage) stay(when string, connections []quicConnection) {
	s.t.Helper()
	for n, c := range connections {
		if name := s.continues(c); name != c.name {
			s.t.Errorf("%s, connection %d went from %s to %s", when, n, c.name, name)
		}
	}
}

// continues sends a packet of the connection from a port that is new.
func (s *stage) continues(c quicConnection) (name string) {
	s.t.Helper()
	conn := s.dialMedia(c.vip)
	defer conn.Close()
	_, name = s.exchange(conn, append([]byte{0x40}, c.id...))
	return name
}

func TestPrivilegedAQUICConnectionStaysThoughItsClientMoves(t *testing.T) {
	const count = 24
	s := open(t, lab.Options{Backends: 4}, 30)
	for _, h := range s.Lab.Backends {
		s.serveQUIC(h, mediaVIP)
	}
	s.begin(media(3))
	s.overhear()

	connections := s.connect(mediaVIP, count)
	s.stay("with a port that is new", connections)
	s.reload(media(4))
	s.stay("after a backend came", connections)

	// By flow the same moves would not stay: an ID that names nobody goes anywhere.
	seen := map[string]bool{}
	unknown := quicConnection{vip: mediaVIP, id: []byte(strings.Repeat("\xee", connectionID))}
	for range count {
		seen[s.continues(unknown)] = true
	}
	if len(seen) < 2 {
		t.Errorf("packets whose ID names nobody all went to %v", seen)
	}
	conn := s.dialMedia(mediaVIP)
	defer conn.Close()
	_, first := s.exchange(conn, append([]byte{0x40}, unknown.id...))
	for range 5 {
		if _, name := s.exchange(conn, append([]byte{0x40}, unknown.id...)); name != first {
			t.Errorf("a flow whose ID names nobody went from %s to %s", first, name)
		}
	}
}

func TestPrivilegedADrainKeepsQUICConnectionsAndADeathLosesOnlyItsOwn(t *testing.T) {
	s := open(t, lab.Options{Backends: 4}, 30)
	for _, h := range s.Lab.Backends {
		s.serveQUIC(h, mediaVIP)
	}
	s.begin(media(4))
	connections := s.connect(mediaVIP, 32)
	of := map[string]int{}
	for _, c := range connections {
		of[c.name]++
	}
	if of["backend-1"] == 0 || of["backend-4"] == 0 {
		t.Fatalf("the story needs connections of backends 1 and 4, there are %v", of)
	}

	_, err := s.Run(t.Context(), "drain", "media", s.backend(1).Addr4.String(), "--socket", s.Socket())
	s.must(err)
	s.await("backend-1 drains", func() error {
		now, err := s.service("media")
		for _, b := range now.Backends {
			if s.name(b.Address) == "backend-1" && b.State != "drain" {
				err = fmt.Errorf("it is %s", b.State)
			}
		}
		return err
	})
	s.stay("while its backend drains", connections)

	s.reload(media(3))
	var left []quicConnection
	for n, c := range connections {
		if c.name != "backend-4" {
			left = append(left, c)
		} else if name := s.continues(c); name == "backend-4" {
			t.Errorf("connection %d is still sent to its backend, which is gone", n)
		}
	}
	s.stay("after another backend went", left)
}

// The same for all addresses of a prefix: the ID names a backend of the service,
// whichever of its addresses the packet is for.
func TestPrivilegedAQUICConnectionToAWideVIPStays(t *testing.T) {
	const one, other = "192.0.2.70:443", "192.0.2.99:443"
	s := open(t, lab.Options{Backends: 3}, 70)
	for _, h := range s.Lab.Backends {
		s.must(s.DecapPrefixes(t.Context(), h, netip.MustParsePrefix("192.0.2.64/26")))
		s.serveQUIC(h, one)
		s.serveQUIC(h, other)
	}
	s.begin(mediaOn("192.0.2.64/26:400-500", 3))
	s.overhear()
	connections := s.connect(one, 24)
	s.stay("with a port that is new", connections)
	for i := range connections {
		connections[i].vip = other
	}
	s.stay("at another address of the service", connections)
}
