package stories

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/systemd"
	"github.com/pointsman/pointsman/test/traffic"
)

// program is the path of the program under test, built once for all stories.
var program string

func TestMain(m *testing.M) {
	traffic.PlayPart()
	systemd.PlayPart()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "pointsman-stories-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if program, err = balancer.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// patience is for what takes milliseconds, on a machine that is busy with
// something else.
const patience = 15 * time.Second

// stage is a lab whose backends are prepared for the VIPs of a story.
type stage struct {
	*balancer.Balancer
	t          *testing.T
	interfaces string // as the configuration writes them
}

// open builds the lab and takes it down after the test, which fails if anything
// of the program is left then. Every backend is one of the VIPs 192.0.2.n and
// 2001:db8:10::n for each n; without any, backends are left as they are.
func open(t *testing.T, options lab.Options, vips ...byte) *stage {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and BPF programs need root")
	}
	s := &stage{balancer.New(lab.ForTest(t, options), program), t, `["eth0"]`}
	s.endInTime(overtime + *soakFor)
	t.Cleanup(func() {
		if t.Failed() && s.Daemon != nil {
			t.Logf("the balancer's log:\n%s", s.Log())
		}
		if err := s.Close(); err != nil {
			t.Errorf("clearing up: %v", err)
		}
	})
	var addresses []netip.Addr
	for _, n := range vips {
		addresses = append(addresses, lab.VIP4(n), lab.VIP6(n))
	}
	if len(addresses) == 0 { // the story does that otherwise
		return s
	}
	for _, h := range s.Lab.Backends {
		if len(addresses) > 0 {
			s.must(s.Decap(t.Context(), h, addresses...))
		}
	}
	return s
}

// overtime is what no story takes that is not stuck, on the slowest machine.
const overtime = 4 * time.Minute

// endInTime takes the lab away from a story that is stuck, which ends whatever it waits
// for: it fails, says where it and the daemon were, and others have their time.
func (s *stage) endInTime(limit time.Duration) {
	over := make(chan struct{})
	bell := time.AfterFunc(limit, func() {
		defer close(over)
		stacks := make([]byte, 1<<20)
		s.t.Errorf("it is not over after %v:\n%s", limit, stacks[:runtime.Stack(stacks, true)])
		if s.Daemon != nil {
			_ = s.Daemon.Signal(syscall.SIGQUIT) // has its stacks in the log
			_ = s.Daemon.Stop()
		}
		_ = s.Lab.Close() // the story's end says what is wrong with that
	})
	s.t.Cleanup(func() {
		if !bell.Stop() {
			<-over
		}
	})
}

// in is the stage for a part of the story that is judged by itself.
func (s *stage) in(t *testing.T) *stage { return &stage{s.Balancer, t, s.interfaces} }

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// configure writes the configuration for the next start or reload: the services
// of a story below what all stories have in common. {{v4 n}} and {{v6 n}} stand
// for the addresses of backend-n.
func (s *stage) configure(services string) {
	s.t.Helper()
	text := `interfaces = ` + s.interfaces + `
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
state_dir  = "` + s.StateDir() + `"
`
	if s.Consul != nil {
		text += fmt.Sprintf("consul {\n  address = %q\n", s.Consul.HTTP)
		if s.Consul.Token != "" {
			text += fmt.Sprintf("  token_file = %q\n", s.tokenFile())
		}
		text += "}\n"
	}
	s.must(s.Configure(text + s.fill(services)))
}

func (s *stage) fill(text string) string {
	s.t.Helper()
	functions := template.FuncMap{
		"v4": func(n int) string { return s.Lab.Backends[n-1].Addr4.String() },
		"v6": func(n int) string { return s.Lab.Backends[n-1].Addr6.String() },
	}
	var out strings.Builder
	parsed, err := template.New("").Funcs(functions).Parse(text)
	s.must(err)
	s.must(parsed.Execute(&out, nil))
	return out.String()
}

// begin starts the balancer and waits until all services are well.
func (s *stage) begin(services string) {
	s.t.Helper()
	s.configure(services)
	s.must(s.Start())
	_, err := s.AwaitReady(s.t.Context())
	s.must(err)
}

func (s *stage) await(what string, problem func() error) {
	s.t.Helper()
	s.must(s.Await(s.t.Context(), patience, what, problem))
}

func (s *stage) backend(n int) *lab.Host { return s.Lab.Backends[n-1] }

// name is the host's that an address of the program's output belongs to.
func (s *stage) name(address string) string {
	addr, err := netip.ParseAddrPort(address)
	s.must(err)
	for _, h := range s.Lab.Backends {
		if h.Addr4 == addr.Addr() || h.Addr6 == addr.Addr() {
			return h.Name
		}
	}
	return address
}
