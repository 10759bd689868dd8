package stories

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

const (
	natTCP = "192.0.2.1:443"
	natUDP = "[2001:db8:10::1]:443"
)

// natted has its backends on ports of their own; so many of them that the file can
// add and remove one.
func natted(backends int) string {
	text := `
service "web" {
  listen  = ["192.0.2.1:443/tcp"]
  forward = "nat"
  slots   = 251
`
	dns := `
service "dns" {
  listen  = ["[2001:db8:10::1]:443/udp"]
  forward = "nat"
  slots   = 251
`
	for n := range backends {
		text += fmt.Sprintf("  backend \"{{v4 %d}}:7000\" {}\n", n+1)
		dns += fmt.Sprintf("  backend \"{{v4 %d}}:53\" {}\n", n+1)
	}
	return text + "}\n" + dns + "}\n"
}

// natCrowd are connections that stay open.
type natCrowd struct {
	*stage
	tcp, udp traffic.Flows
}

func (s *stage) openNATCrowd(n int) natCrowd {
	s.t.Helper()
	tcp, err := traffic.Open(s.t.Context(), s.Lab.Client, traffic.TCP, netip.MustParseAddrPort(natTCP), n)
	s.must(err)
	udp, err := traffic.Open(s.t.Context(), s.Lab.Client, traffic.UDP, netip.MustParseAddrPort(natUDP), n)
	s.must(err)
	s.t.Cleanup(func() { tcp.Close(); udp.Close() })
	return natCrowd{s, tcp, udp}
}

// goOn uses every connection: those of a backend that is gone break, no others.
func (c natCrowd) goOn(when, gone string) {
	c.t.Helper()
	for _, flows := range []traffic.Flows{c.tcp, c.udp} {
		for _, broken := range flows.Use(patience / 3) {
			if broken.Backend != gone {
				c.t.Errorf("%s, the connection of %s to %s broke: %v", when, broken.Client, broken.Backend, broken.Broken)
			}
		}
	}
}

func TestPrivilegedConnectionsByNATOutliveTheDaemonAndChanges(t *testing.T) {
	s := open(t, lab.Options{Backends: 3})
	s.begin(natted(2))
	c := s.openNATCrowd(40)
	c.goOn("at first", "")

	s.Daemon.Kill()
	c.goOn("without a daemon", "")
	more := s.openNATCrowd(10)
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	c.goOn("under the next daemon", "")
	more.goOn("opened while there was none", "")

	s.reload(natted(3))
	c.goOn("after a backend came", "")
	if n := s.openNATCrowd(40).tcp.Counts()["backend-3"]; n == 0 {
		t.Error("no new connection goes to the backend that came")
	}
	_, err = s.Run(t.Context(), "drain", "web", s.backend(2).Addr4.String(), "--socket", s.Socket())
	s.must(err)
	s.awaitBackends("web", "backend-1 up", "backend-2 drain", "backend-3 up")
	c.goOn("while a backend drains", "")
	if n := s.openNATCrowd(40).tcp.Counts()["backend-2"]; n > 0 {
		t.Errorf("%d new connections go to the backend that drains", n)
	}
	s.reload(natted(1))
	c.goOn("after backends went", "backend-2")
	if kept := len(c.tcp.Of("backend-1")) - len(c.tcp.Of("backend-1").Broken()); kept == 0 {
		t.Error("no connection to the backend that stays is left")
	}
}

func TestPrivilegedInstancesOfConsulOnRandomPortsServeByNAT(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("ports of seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var ports []uint16
	for i := range uint16(3) {
		ports = append(ports, 20000+4000*i+uint16(random.IntN(4000)))
	}
	s := open(t, lab.Options{Backends: 2, Ports: lab.Ports{TCP: ports}})
	s.must(s.StartConsul(t.Context(), t.Logf))
	for n, h := range s.Lab.Backends {
		for i, port := range ports[:2+n%2] {
			s.must(s.agent().ServiceRegister(&api.AgentServiceRegistration{
				ID: fmt.Sprintf("%s-%d", h.Name, i), Name: "web", Address: h.Addr4.String(), Port: int(port),
			}))
		}
	}
	s.begin(`
service "web" {
  listen  = ["192.0.2.1:443/tcp", "[2001:db8:10::1]:443/tcp"]
  forward = "nat"
  slots   = 251
  consul {}
}`)
	s.awaitBackends("web", "backend-1 up", "backend-1 up", "backend-2 up", "backend-2 up", "backend-2 up")
	for _, vip := range []string{"tcp 192.0.2.1:443", "tcp [2001:db8:10::1]:443"} {
		s.allAnswered(vip, s.ask(vip, 40))
	}
	service, err := s.service("web")
	s.must(err)
	for _, b := range service.Backends {
		if b.NewFlows == 0 {
			t.Errorf("no connection went to %s", b.Address)
		}
	}
	s.must(s.agent().ServiceDeregister("backend-1-0"))
	s.awaitBackends("web", "backend-1 up", "backend-2 up", "backend-2 up", "backend-2 up")
	s.allAnswered("after one is gone", s.ask("tcp 192.0.2.1:443", 40))

	c := natCrowd{stage: s}
	c.tcp, err = traffic.Open(t.Context(), s.Lab.Client, traffic.TCP, netip.MustParseAddrPort(natTCP), 20)
	s.must(err)
	t.Cleanup(c.tcp.Close)
	s.must(s.Consul.Kill())
	s.awaitWarning("Consul's view of service web is held (unreachable), stale since")
	c.goOn("while Consul is dead", "")
	s.Daemon.Kill()
	s.must(s.Start())
	s.awaitWarning("Consul's view of service web is held (unreachable)") // by notes, or by the tables if it died before it wrote any
	c.goOn("under a daemon that has never heard Consul", "")
	s.allAnswered("without Consul", s.ask("tcp 192.0.2.1:443", 40))
}
