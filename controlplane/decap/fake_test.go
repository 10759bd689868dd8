package decap

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"
)

// fakeHost is a host in memory that can be told to fail. It breaks after so
// many effects, if that is not 0, either before or after making the last one.
type fakeHost struct {
	facts    Facts
	breaks   int
	halfWay  bool // the last effect is made, and then the process dies
	effects  int
	programs map[string]Options
}

var errBroken = errors.New("broken on demand")

func newFakeHost() *fakeHost {
	return &fakeHost{facts: plainHost(), programs: make(map[string]Options)}
}

func (h *fakeHost) defaultInterface() (string, error) { return "eth0", nil }

// look returns only what was asked for, as the real host does.
func (h *fakeHost) look(sysctls []string) (Facts, error) {
	facts := h.facts
	facts.Sysctls = make(map[string]string)
	for _, path := range sysctls {
		if value, known := h.facts.Sysctls[path]; known {
			facts.Sysctls[path] = value
		}
	}
	facts.Addresses, facts.Local = maps.Clone(h.facts.Addresses), maps.Clone(h.facts.Local)
	return facts, nil
}

// effect carries one out unless the host is to break now.
func (h *fakeHost) effect(f func()) error {
	h.effects++
	broken := h.breaks > 0 && h.effects >= h.breaks
	if !broken || h.halfWay && h.effects == h.breaks {
		f()
	}
	if broken {
		return errBroken
	}
	return nil
}

func (h *fakeHost) change(c Change) error {
	return h.effect(func() {
		if c.Kind == Sysctl {
			h.facts.Sysctls[c.Name] = c.After
			return
		}
		if c.Kind == Route {
			h.facts.Local[netip.MustParsePrefix(c.Name)] = true
			return
		}
		addr := netip.MustParseAddr(c.Name)
		h.facts.Addresses[addr] = append(slices.Clone(h.facts.Addresses[addr]), loopback)
	})
}

func (h *fakeHost) undo(c Change) error {
	return h.effect(func() {
		if c.Kind == Sysctl {
			h.facts.Sysctls[c.Name] = c.Before
			return
		}
		if c.Kind == Route {
			delete(h.facts.Local, netip.MustParsePrefix(c.Name))
			return
		}
		addr := netip.MustParseAddr(c.Name)
		left := slices.DeleteFunc(slices.Clone(h.facts.Addresses[addr]), func(iface string) bool { return iface == loopback })
		if h.facts.Addresses[addr] = left; len(left) == 0 {
			delete(h.facts.Addresses, addr)
		}
	})
}

func (h *fakeHost) Attach(o Options) (Attachment, error) {
	err := h.effect(func() { h.programs[o.Interface] = o })
	return Attachment{Mode: "native"}, err
}

func (h *fakeHost) Detach(_, iface string) (removed []string, err error) {
	err = h.effect(func() {
		if _, attached := h.programs[iface]; attached {
			removed = append(removed, "program")
		}
		delete(h.programs, iface)
	})
	return removed, err
}

// isAsBefore checks that nothing of ours is left.
func (h *fakeHost) isAsBefore(t *testing.T, before Facts) {
	t.Helper()
	if !maps.Equal(h.facts.Sysctls, before.Sysctls) {
		t.Errorf("sysctls are %v, were %v", h.facts.Sysctls, before.Sysctls)
	}
	if !maps.EqualFunc(h.facts.Addresses, before.Addresses, slices.Equal) {
		t.Errorf("addresses are %v, were %v", h.facts.Addresses, before.Addresses)
	}
	if !maps.Equal(h.facts.Local, before.Local) {
		t.Errorf("local prefixes are %v, were %v", h.facts.Local, before.Local)
	}
	if len(h.programs) > 0 {
		t.Errorf("programs are still attached: %v", h.programs)
	}
}
