package stories

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
)

// dynamic are services whose instances listen wherever they like, of both families
// and protocols.
const dynamic = `
service "web" {
  listen       = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  forward      = "FORWARD"
  port_mapping = true
  consul {}
}
service "dns" {
  listen       = ["192.0.2.1:53/udp", "[2001:db8:10::1]:53/udp"]
  forward      = "FORWARD"
  port_mapping = true
  consul {}
}`

var dynamicVIPs = []string{"http 192.0.2.1:80", "http [2001:db8:10::1]:80", "udp 192.0.2.1:53", "udp [2001:db8:10::1]:53"}

// portsStage is a lab whose backends' servers have random ports, the same on all
// hosts, and follow Consul by an agent of their own.
type portsStage struct {
	*stage
	forward string
	ports   []uint16 // three of web, then three of dns
	agents  map[*lab.Host]*lab.Process
	said    map[*lab.Host]*spoken
}

func openPorts(t *testing.T, forward string) *portsStage {
	p := &portsStage{forward: forward, agents: map[*lab.Host]*lab.Process{}, said: map[*lab.Host]*spoken{}}
	for _, n := range rand.Perm(9000)[:6] {
		p.ports = append(p.ports, uint16(20000+n))
	}
	t.Logf("the servers listen on %v", p.ports)
	p.stage = open(t, lab.Options{Backends: 2, Ports: lab.Ports{HTTP: p.ports[:3], UDP: p.ports[3:]}})
	p.must(p.StartConsul(t.Context(), t.Logf))
	p.configure(p.services())
	p.must(p.Start())
	for _, h := range p.Lab.Backends {
		p.consulOn(h)
		p.follow(h)
	}
	return p
}

func (p *portsStage) services() string { return strings.ReplaceAll(dynamic, "FORWARD", p.forward) }

// consulOn lets a host's own address lead to the agent, as if one ran there.
func (p *portsStage) consulOn(h *lab.Host) {
	listener, err := h.Listen("tcp", "127.0.0.1:8500")
	p.must(err)
	p.t.Cleanup(func() { listener.Close() })
	address := strings.TrimPrefix(p.Consul.HTTP, "http://")
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := p.Host.Dial(p.t.Context(), "tcp", address)
				if err != nil {
					return
				}
				defer to.Close()
				go func() { io.Copy(to, from); to.Close() }()
				io.Copy(from, to)
			}()
		}
	}()
}

// follow starts the host's agent, with a file of the host's own.
func (p *portsStage) follow(h *lab.Host) {
	p.t.Helper()
	config := `interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
consul { address = "http://127.0.0.1:8500" }
` + p.services()
	log := &spoken{}
	agent, err := p.Follow(h, config, log, "--linger", "1h")
	p.must(err)
	p.agents[h], p.said[h] = agent, log
	p.t.Cleanup(func() {
		agent.Kill()
		if p.t.Failed() {
			p.t.Logf("the agent of %s:\n%s", h.Name, log)
		}
	})
}

// register registers an instance of a service on one of a host's ports, critical
// at first, as a scheduler's are; and lets it pass once its host maps the port.
func (p *portsStage) register(service string, h *lab.Host, port uint16, v6 bool) {
	p.t.Helper()
	id, address := fmt.Sprintf("%s-%s-%d", service, h.Name, port), h.Addr4
	if v6 {
		address = h.Addr6
	}
	p.must(p.agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: service, Address: address.String(), Port: int(port),
		Check: &api.AgentServiceCheck{CheckID: id, TTL: "10m", Status: api.HealthCritical},
	}))
	p.await(fmt.Sprintf("%s maps port %d", h.Name, port), func() error { return p.mapped(h, port) })
	p.must(p.agent().UpdateTTL(id, "", api.HealthPassing))
}

func (p *portsStage) mapped(h *lab.Host, port uint16) error {
	mappings, err := p.Mappings(p.t.Context(), h)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(mappings, func(m balancer.Mapping) bool { return m.LocalPort == port }) {
		return fmt.Errorf("it maps %v", mappings)
	}
	return nil
}

// watchClient captures what the client receives in a VIP's name until the test
// looks at it: every packet must be from a VIP's port, and rightly summed.
func (p *portsStage) watchClient() (look func()) {
	p.t.Helper()
	for _, tool := range []string{"tcpdump", "tshark"} {
		if _, err := exec.LookPath(tool); err != nil {
			p.t.Skipf("%v: apt-get install tshark tcpdump", err)
		}
	}
	file, log := filepath.Join(p.Lab.Dir, "client.pcap"), &spoken{}
	cmd := exec.Command("tcpdump", "-n", "-U", "-Z", "root", "-i", "eth0", "-w", file, "src net 192.0.2.0/24 or src net 2001:db8:10::/64")
	cmd.Stderr = log
	capture, err := p.Lab.Client.Start(cmd)
	p.must(err)
	p.await("tcpdump listens", func() error {
		if !strings.Contains(log.String(), "listening on") {
			return fmt.Errorf("it says %q", log)
		}
		return nil
	})
	return func() {
		p.t.Helper()
		p.must(capture.Signal(syscall.SIGINT))
		p.must(capture.Wait())
		if all := p.tool("tshark", "-n", "-r", file); len(all) < 100 {
			p.t.Errorf("the client received %d packets only", len(all))
		}
		// 0xffff is how Linux writes a TCP sum of zero where no card does.
		const wrong = "(tcp && tcp.srcport != 80 && !icmp && !icmpv6) || (udp && udp.srcport != 53 && !icmp && !icmpv6) ||" +
			" ip.checksum.status == 0 || (tcp.checksum.status == 0 && tcp.checksum != 0xffff) || udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"
		if bad := p.tool("tshark", "-n", "--disable-protocol", "dns", "-r", file, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
			"-o", "udp.check_checksum:TRUE", "-Y", wrong); strings.Join(bad, "") != "" {
			p.t.Errorf("of what the client received tshark objects to %d packets:\n%s", len(bad), strings.Join(bad[:min(len(bad), 10)], "\n"))
		}
	}
}

// restart kills a host's agent and starts another.
func (p *portsStage) restart(h *lab.Host) {
	p.t.Helper()
	p.agents[h].Kill()
	p.follow(h)
	p.await("the new agent has looked", func() error {
		if text := p.said[h].String(); !strings.Contains(text, "brought up to date") {
			return fmt.Errorf("it says %q", text)
		}
		return nil
	})
}

// Several instances of a service on each host, on ports that nobody knew before:
// they are told apart by GUE, come and go while clients ask, and no client sees
// another port than the VIP's.
func TestPrivilegedInstancesOnRandomPortsServeDirectly(t *testing.T) {
	p := openPorts(t, "gue")
	one, two := p.backend(1), p.backend(2)
	p.register("web", one, p.ports[0], false)
	p.register("web", one, p.ports[1], true)
	p.register("web", two, p.ports[0], true)
	p.register("dns", one, p.ports[3], false)
	p.register("dns", two, p.ports[4], true)
	p.awaitBackends("web", "backend-1 up", "backend-1 up", "backend-2 up")
	p.awaitBackends("dns", "backend-1 up", "backend-2 up")

	look := p.watchClient()
	asking := p.keepAsking(dynamicVIPs...)
	p.restart(one)
	asking.join()
	p.register("web", two, p.ports[2], false)
	p.register("dns", two, p.ports[5], false)
	p.awaitBackends("web", "backend-1 up", "backend-1 up", "backend-2 up", "backend-2 up")
	p.awaitBackends("dns", "backend-1 up", "backend-2 up", "backend-2 up")
	asking.join()
	p.must(p.agent().EnableServiceMaintenance(fmt.Sprintf("web-backend-1-%d", p.ports[0]), "it goes"))
	p.awaitBackends("web", "backend-1 up", "backend-1 drain", "backend-2 up", "backend-2 up")
	p.restart(two)
	asking.join()
	p.nothingLost(asking.finish())

	p.must(p.agent().ServiceDeregister(fmt.Sprintf("web-backend-1-%d", p.ports[0])))
	p.awaitBackends("web", "backend-1 up", "backend-2 up", "backend-2 up")
	for _, vip := range dynamicVIPs {
		p.allAnswered(vip, p.ask(vip, 50))
	}
	look()
}

// IP in IP names no port: one instance of a host, on any port.
func TestPrivilegedOneInstanceOfAHostOnARandomPortServesUnderIPIP(t *testing.T) {
	p := openPorts(t, "ipip")
	one, two := p.backend(1), p.backend(2)
	for _, h := range []*lab.Host{one, two} {
		p.register("web", h, p.ports[0], h == two)
		p.register("dns", h, p.ports[3], h == one)
	}
	p.awaitBackends("web", "backend-1 up", "backend-2 up")
	p.awaitBackends("dns", "backend-1 up", "backend-2 up")
	look := p.watchClient()
	asking := p.keepAsking(dynamicVIPs...)
	p.restart(one)
	asking.join()
	p.nothingLost(asking.finish())

	second := fmt.Sprintf("web-backend-1-%d", p.ports[1])
	p.must(p.agent().ServiceRegister(&api.AgentServiceRegistration{ID: second, Name: "web", Address: one.Addr4.String(), Port: int(p.ports[1])}))
	p.awaitBackends("web", "backend-1 up", "backend-1 rejected nothing under ipip tells them apart: gue does", "backend-2 up")
	p.must(p.agent().ServiceDeregister(fmt.Sprintf("web-backend-1-%d", p.ports[0])))
	p.awaitBackends("web", "backend-1 up", "backend-2 up")
	p.await("backend-1 maps the port of who is left", func() error { return p.mapped(one, p.ports[1]) })
	for _, vip := range dynamicVIPs {
		p.allAnswered(vip, p.ask(vip, 50))
	}
	look()

	p.configure(strings.ReplaceAll(p.services(), "port_mapping = true", ""))
	p.must(p.Reload())
	p.awaitBackends("web", fmt.Sprintf("backend-1 rejected listens on port %d, but ipip cannot change the VIP's port 80", p.ports[1]),
		fmt.Sprintf("backend-2 rejected listens on port %d, but ipip cannot change the VIP's port 80", p.ports[0]))
}
