package controlplane

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/health"
	"github.com/pointsman/pointsman/controlplane/nexthop"
)

// fakeProber says what a story lets it say.
type fakeProber struct{ said map[string]health.Verdict }

func (p *fakeProber) Set(map[health.Backend]health.Check) {}

func (p *fakeProber) Verdict(b health.Backend) health.Verdict {
	return p.said[b.Service+" "+b.Addr.String()]
}

// hear takes in what the probes say and tells of what is new, as the prober does.
func (p *fakeProber) hear(text string, tell func(service string)) {
	said := map[string]health.Verdict{}
	for name, v := range p.said {
		said[name] = v
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		v := health.Verdict{State: health.Well, Since: time.Now(), Seen: time.Now().Add(-150 * time.Millisecond)}
		if words[2] == "ill" {
			v.State, v.Reason = health.Ill, strings.Join(words[3:], " ")
		}
		about := words[0] + " " + words[1]
		if before := p.said[about]; before.State == v.State && before.Reason == v.Reason {
			v = before
		} else {
			defer tell(words[0])
		}
		said[about] = v
	}
	p.said = said
}

// fakeHops finds a way to everywhere but where a story says otherwise.
type fakeHops struct{ problems map[netip.Addr]string }

func (h *fakeHops) Set([]netip.Addr, []nexthop.Ingress) {}

func (h *fakeHops) Lookup(addr netip.Addr) (nexthop.Resolution, bool) {
	return nexthop.Resolution{
		Interface: "eth0", Index: 2, NextHopMAC: [6]byte{2, 0, 0, 0, 0, addr.AsSlice()[3]},
		Source: netip.MustParseAddr("10.20.0.1"), MTU: 1500, Problem: h.problems[addr],
	}, true
}

// hear takes in what is wrong with some ways and tells of what is new, as the
// watcher does.
func (h *fakeHops) hear(text string, tell func(netip.Addr)) {
	problems := map[netip.Addr]string{}
	for line := range strings.Lines(text) {
		addr, problem, _ := strings.Cut(strings.TrimSpace(line), " ")
		problems[netip.MustParseAddr(addr)] = problem
		if problem != h.problems[netip.MustParseAddr(addr)] {
			defer tell(netip.MustParseAddr(addr))
		}
	}
	for addr, problem := range h.problems {
		if _, still := problems[addr]; !still && problem != "" {
			defer tell(addr)
		}
	}
	h.problems = problems
}

// record is a log that is read while it is written.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(line)
}

// take returns what was written since it was called last.
func (r *record) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.text.Reset()
	return r.text.String()
}
