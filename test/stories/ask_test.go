package stories

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/controlplane/api"
)

// service is what pointsman backends says of a service.
func (s *stage) service(name string) (api.ServiceBackends, error) {
	all, err := s.Backends(s.t.Context())
	if err != nil {
		return api.ServiceBackends{}, err
	}
	i := slices.IndexFunc(all.Services, func(b api.ServiceBackends) bool { return b.Name == name })
	if i < 0 {
		return api.ServiceBackends{}, fmt.Errorf("there is no service %s", name)
	}
	return all.Services[i], nil
}

// awaitBackends waits until a service has exactly these backends. Each is given
// as its name, its state and, if that matters, a part of the reason: "backend-2
// down critical in Consul".
func (s *stage) awaitBackends(service string, want ...string) {
	s.t.Helper()
	s.await(service+" has "+strings.Join(want, ", "), func() error { return s.compare(service, want) })
}

func (s *stage) compare(service string, want []string) error {
	now, err := s.service(service)
	if err != nil {
		return err
	}
	var have []string
	same := len(now.Backends) == len(want)
	for _, b := range now.Backends {
		text := strings.TrimSpace(s.name(b.Address) + " " + b.State + " " + b.Reason)
		have = append(have, text)
		same = same && slices.ContainsFunc(want, func(w string) bool { return matches(text, w) })
	}
	if !same {
		return fmt.Errorf("it has %s", strings.Join(have, ", "))
	}
	return nil
}

// matches compares name and state, and looks for the reason.
func matches(have, want string) bool {
	name, state, reason := three(want)
	haveName, haveState, haveReason := three(have)
	return name == haveName && state == haveState && strings.Contains(haveReason, reason)
}

func three(text string) (first, second, rest string) {
	words := append(strings.SplitN(text, " ", 3), "", "")
	return words[0], words[1], words[2]
}

// slots is how many slots each backend of a service owns.
func (s *stage) slots(service string) map[string]uint32 {
	s.t.Helper()
	return s.count(service, func(b api.Backend) uint32 { return b.Slots })
}

// fallbacks is how many slots forgotten flows go to each backend from.
func (s *stage) fallbacks(service string) map[string]uint32 {
	s.t.Helper()
	return s.count(service, func(b api.Backend) uint32 { return b.FallbackSlots })
}

func (s *stage) count(service string, of func(api.Backend) uint32) map[string]uint32 {
	s.t.Helper()
	now, err := s.service(service)
	s.must(err)
	counts := map[string]uint32{}
	for _, b := range now.Backends {
		counts[s.name(b.Address)] = of(b)
	}
	return counts
}

// status is what pointsman status says.
func (s *stage) status() api.Status {
	s.t.Helper()
	now, err := s.Status(s.t.Context())
	s.must(err)
	return now
}

// awaitWarning waits until the status warns with such a text.
func (s *stage) awaitWarning(part string) {
	s.t.Helper()
	s.await(fmt.Sprintf("status warns of %q", part), func() error {
		now, err := s.Status(s.t.Context())
		if err == nil && !strings.Contains(strings.Join(now.Warnings, "\n"), part) {
			err = fmt.Errorf("it warns of %q", now.Warnings)
		}
		return err
	})
}
