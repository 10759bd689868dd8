package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// diagnosis is what pointsman doctor -o json prints.
type diagnosis struct {
	Role     string
	Findings []struct{ Level, Finding, About, What, Mend, Advice string }
	Unseen   []string `json:"not_looked_at"`
	code     int
}

// kinds are what was found, with what it is about.
func (d diagnosis) kinds() (all []string) {
	for _, f := range d.Findings {
		all = append(all, f.Level+" "+f.Finding+" "+f.About)
	}
	return all
}

// patient is a host of a lab, and how its doctor is called there.
type patient struct {
	*stage
	host  *lab.Host
	flags []string
	under []string // a command and its arguments to run the doctor under
	env   []string
}

func (s *stage) balancerPatient() *patient {
	return &patient{stage: s, host: s.Lab.Balancer, flags: []string{"--config", s.ConfigPath(), "--pin-dir", s.PinDir()}}
}

// backendPatient has the pins that decap has made there.
func (s *stage) backendPatient(n int, flags ...string) *patient {
	h := s.backend(n)
	places := []string{"--backend", "--pin-dir", filepath.Join(s.Lab.PinDir, h.Name)}
	return &patient{stage: s, host: h, flags: append(places, flags...)}
}

func (p *patient) examined() diagnosis {
	p.t.Helper()
	line := slices.Concat(p.under, []string{program, "doctor", "-o", "json"}, p.flags)
	text, err := p.host.Run(p.t.Context(), line[0], line[1:]...)
	var d diagnosis
	if broken := json.Unmarshal(text, &d); broken != nil {
		p.t.Fatalf("%v prints %q: %v, %v", line, text, broken, err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		d.code = exit.ExitCode()
	}
	return d
}

// has checks that exactly these were found, and returns all that is known of them.
func (p *patient) has(want ...string) diagnosis {
	p.t.Helper()
	d := p.examined()
	code := 0
	if slices.ContainsFunc(want, func(f string) bool { return strings.HasPrefix(f, "failure") }) {
		code = 1
	}
	if got := d.kinds(); !slices.Equal(got, want) || d.code != code {
		p.t.Errorf("it exits with %d and finds %q, want %d and %q\n%+v", d.code, got, code, want, d.Findings)
	}
	for _, what := range d.Unseen {
		if !strings.HasPrefix(what, "there is no /etc/pointsman/") {
			p.t.Errorf("not looked at is %q", what)
		}
	}
	return d
}

// do types a line at a root's shell on the host.
func (p *patient) do(line string) {
	p.t.Helper()
	cmd := exec.Command("sh", "-ec", p.addresses(line))
	cmd.Env = append(os.Environ(), append(p.env, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	process, err := p.host.Start(cmd)
	p.must(err)
	if err := process.Wait(); err != nil {
		p.t.Errorf("%q ends with %v: %s", line, err, said.String())
	}
}

// mends types what is said to mend the first finding, until nothing is found.
func (p *patient) mends(d diagnosis) {
	p.t.Helper()
	// Some things take the kernel a moment: a link's carrier after it is up.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if len(d.Findings) == 0 {
			return
		}
		line := d.Findings[0].Mend
		if strings.HasPrefix(line, "pointsman decap ") {
			line += " --state-file " + filepath.Join(p.Lab.Dir, p.host.Name+".json")
		}
		p.do(line)
		if p.t.Failed() {
			return
		}
		d = p.examined()
	}
	p.t.Errorf("in the end it still finds %q", d.kinds())
}

func (p *patient) sysctl(key, value string) {
	p.t.Helper()
	p.must(p.host.Sysctl(key, value))
}

// examinedServices go all ways: by both families, over both interfaces, in tunnels and
// translated.
const examinedServices = `
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v6 2}}" {}
}
service "nat" {
  listen  = ["192.0.2.2:80/tcp"]
  forward = "nat"
  backend "{{v4 2}}" {}
}`

func openPatient(t *testing.T) *patient {
	s := open(t, lab.Options{Backends: 1, SecondSegment: 1})
	s.interfaces = `["eth0", "eth1"]`
	s.configure(examinedServices)
	p := s.balancerPatient()
	p.sysctl("net/ipv6/conf/all/keep_addr_on_down", "1")
	return p
}

// ailment is brought about, is found, and is gone after what mends it.
type ailment struct {
	promise string
	ail     func(*patient)
	finds   []string
	after   func(*patient) // mends what is wrong on another host
}

func (p *patient) suffers(all []ailment) {
	p.has()
	for _, row := range all {
		p.t.Run(row.promise, func(t *testing.T) {
			p := p.in(t)
			row.ail(p)
			var want []string
			for _, f := range row.finds {
				want = append(want, p.addresses(f))
			}
			d := p.has(want...)
			if row.after != nil {
				row.after(p)
			}
			p.mends(d)
		})
	}
}

// ailments are what can be wrong with a balancer. Each is brought about for real, and
// gone after what is said to mend it.
var ailments = []ailment{
	{"another program in the driver", occupiedBy("native"), []string{"failure other-program eth1"}, nil},
	{"another program in generic mode", occupiedBy("generic"), []string{"failure other-program eth1"}, nil},
	{"another program by a link", occupiedBy("link"), []string{"failure other-program eth1"}, nil},
	{"an interface that is down", func(p *patient) { p.do("ip link set dev eth1 down") },
		[]string{"failure interface-down eth1"}, nil},
	{"an interface that is down, and no other way", func(p *patient) {
		for _, tool := range []string{"ip", "ip -6"} {
			route, err := p.host.Run(p.t.Context(), "sh", "-c", tool+" route show default")
			p.must(err)
			p.do(tool + " route del default")
			p.t.Cleanup(func() { p.do(tool + " route add " + string(route)) })
		}
		p.do("ip link set dev eth1 down")
	}, []string{"failure interface-down eth1", "failure route {v4 2}", "failure route {v6 2}"}, nil},
	{"a neighbour that does not answer", func(p *patient) {
		p.must(p.backend(1).Sysctl("net/ipv4/conf/all/arp_ignore", "8"))
		p.do("ip neighbour flush dev eth0")
	}, []string{"failure neighbour {v4 1}"}, func(p *patient) { p.must(p.backend(1).Sysctl("net/ipv4/conf/all/arp_ignore", "0")) }},
	{"an interface that takes too little beside the outer headers", func(p *patient) { p.do("ip link set dev eth1 mtu 1500") },
		[]string{"warning mtu eth1"}, nil},
	{"one that leaves IPv6 too little", func(p *patient) { p.do("ip link set dev eth1 mtu 1310") },
		[]string{"failure mtu eth1"}, nil},
	{"a route that takes too little", func(p *patient) {
		p.do("ip route add {v4 1}/32 dev eth0 mtu 1400")
		p.t.Cleanup(func() { p.do("ip route del {v4 1}/32 dev eth0") })
	}, []string{"warning mtu {v4 1}/32 dev eth0 proto 3"}, nil},
	{"ports that the host's own sockets take, too", func(p *patient) { p.sysctl("net/ipv4/ip_local_port_range", "1025 60999") },
		[]string{"warning nat-ports net.ipv4.ip_local_port_range"}, nil},
}

func occupiedBy(how string) func(*patient) {
	return func(p *patient) {
		leave, err := p.host.Occupy("eth1", how)
		p.must(err)
		p.t.Cleanup(func() { _ = leave() }) // it is gone if all is well
	}
}

// addresses puts the lab's into a text.
func (p *patient) addresses(text string) string {
	pairs := []string{"{router 4}", p.Lab.Router.Addrs()[2].String(), "{router 6}", p.Lab.Router.Addrs()[3].String()}
	for i, h := range p.Lab.Backends {
		pairs = append(pairs, fmt.Sprintf("{v4 %d}", i+1), h.Addr4.String(), fmt.Sprintf("{v6 %d}", i+1), h.Addr6.String())
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func TestPrivilegedTheDoctorFindsWhatAilsABalancerAndSaysWhatMendsIt(t *testing.T) {
	openPatient(t).suffers(ailments)
}

func (p *patient) in(t *testing.T) *patient {
	other := *p
	other.stage = p.stage.in(t)
	return &other
}

func TestPrivilegedTheDoctorReadsTheFileAgainstTheHost(t *testing.T) {
	p := openPatient(t)
	t.Run("a source that is not the host's", func(t *testing.T) {
		p := p.in(t)
		p.configure(`nat_sources = ["198.51.100.99"]` + examinedServices)
		p.mends(p.has("failure nat-source 198.51.100.99"))
		p.do("ip address del 198.51.100.99/32 dev eth0")
	})
	t.Run("an interface that is not there", func(t *testing.T) {
		p := p.in(t)
		p.interfaces = `["eth0", "eth7"]`
		p.configure(examinedServices)
		d := p.has("failure no-interface eth7")
		p.do(d.Findings[0].Mend)
	})
	t.Run("a file with mistakes", func(t *testing.T) {
		p := p.in(t)
		p.interfaces = `["eth0", "eth1"]`
		p.configure("forwrad = true" + examinedServices)
		d := p.has("failure configuration " + p.ConfigPath())
		said, err := p.host.Run(t.Context(), "sh", "-c", strings.Replace(d.Findings[0].Mend, "pointsman", program, 1)+" 2>&1")
		if !strings.Contains(string(said), "did you mean") && !strings.Contains(string(said), "unknown key") {
			t.Errorf("its mend says %q, %v", said, err)
		}
	})
	t.Run("none at all is told of, and is no ailment", func(t *testing.T) {
		p := p.in(t)
		p.flags = []string{"--pin-dir", p.PinDir()}
		if _, err := os.Stat("/etc/pointsman/pointsman.hcl"); err == nil {
			t.Skip("this machine has one")
		}
		if d := p.has(); len(d.Unseen) != 1 || !strings.Contains(d.Unseen[0], "/etc/pointsman/pointsman.hcl") {
			t.Errorf("not looked at is %q", d.Unseen)
		}
	})
}
