package stories

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// As many backends as there are names, so that the file can add one.
func media(backends int) string {
	text := `
service "media" {
  listen   = ["192.0.2.30:443/udp"]
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
func (s *stage) serveQUIC(h *lab.Host) {
	s.t.Helper()
	packets, err := h.ListenPacket("udp4", "192.0.2.30:443")
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

func (s *stage) dialMedia() net.Conn {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "udp", "192.0.2.30:443")
	s.must(err)
	return conn
}

// quicConnection is one whose server has chosen its ID.
type quicConnection struct {
	id   []byte
	name string
}

// continues sends a packet of the connection from a port that is new.
func (s *stage) continues(c quicConnection) (name string) {
	s.t.Helper()
	conn := s.dialMedia()
	defer conn.Close()
	_, name = s.exchange(conn, append([]byte{0x40}, c.id...))
	return name
}

func TestPrivilegedAQUICConnectionStaysThoughItsClientMoves(t *testing.T) {
	const count = 24
	s := open(t, lab.Options{Backends: 4}, 30)
	for _, h := range s.Lab.Backends {
		s.serveQUIC(h)
	}
	s.begin(media(3))

	var connections []quicConnection
	for n := range count {
		conn := s.dialMedia()
		initial := append([]byte{0xc3, 0, 0, 0, 1, connectionID}, 0xee, 0xee, byte(n), 1, 2, 3, 4, 5)
		id, name := s.exchange(conn, initial)
		connections = append(connections, quicConnection{append([]byte(nil), id...), name})
		conn.Close()
	}
	stay := func(when string) {
		t.Helper()
		for n, c := range connections {
			if name := s.continues(c); name != c.name {
				t.Errorf("%s, connection %d went from %s to %s", when, n, c.name, name)
			}
		}
	}
	stay("with a port that is new")
	s.reload(media(4))
	stay("after a backend came")

	// By flow the same moves would not stay: an ID that names nobody goes anywhere.
	seen := map[string]bool{}
	unknown := quicConnection{id: []byte(strings.Repeat("\xee", connectionID))}
	for range count {
		seen[s.continues(unknown)] = true
	}
	if len(seen) < 2 {
		t.Errorf("packets whose ID names nobody all went to %v", seen)
	}
	conn := s.dialMedia()
	defer conn.Close()
	_, first := s.exchange(conn, append([]byte{0x40}, unknown.id...))
	for range 5 {
		if _, name := s.exchange(conn, append([]byte{0x40}, unknown.id...)); name != first {
			t.Errorf("a flow whose ID names nobody went from %s to %s", first, name)
		}
	}
}
