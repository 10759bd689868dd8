package fake

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Plane is a balancer that goes through a history.
type Plane interface {
	// Tables is what steps and packets change. It is only read.
	Tables() *dataplane.Tables
	Apply(dataplane.Step) error
	// Send returns the index of the backend that gets the packet.
	Send(Packet, uint32) (uint32, error)
	Sweep(second uint32) dataplane.Census
}

// HistoryLimits and HistorySlots are how large a Plane's tables have to be. Any
// number of flows will do; HistoryFlows is more than there ever are at once.
var HistoryLimits = dataplane.Limits{Services: 4, VIPs: 8, Backends: 200}

// HistorySlots is the number of slots of all services together.
const (
	HistorySlots = 128
	HistoryFlows = 4096
)

// History is a story of packets, changes and time, made up from dice, in which
// promises have to hold.
type History struct {
	plane    Plane
	dice     dice
	say      func(format string, args ...any)
	second   uint32
	swept    uint32 // the second of the last sweep
	wish     []service
	promises promises
	// reconfigures tells whether services change in other ways than by their
	// backends. That breaks flows, so most histories do without.
	reconfigures bool
	resting      dataplane.Quarantine
	Seen         Seen
}

// Seen counts what a history was made of.
type Seen struct {
	Packets, Dropped, Changes, Interrupted, Freed int
	Checked                                       int // packets of flows that had to stay where they were
	ByLaw                                         int // new flows that went to a draining backend
	Phases                                        [4]int
	Explained                                     map[dataplane.Why]int
}

// NewHistory makes up a history. Every promise is worth as much as its dice are
// long. What happens is told to say, if it is not nil.
func NewHistory(plane Plane, hash dataplane.Hash, bytes []byte, say func(string, ...any)) *History {
	h := &History{plane: plane, dice: dice{bytes}, say: say}
	if say == nil {
		h.say = func(string, ...any) {}
	}
	h.promises = newPromises(plane.Tables(), hash)
	h.Seen.Explained = map[dataplane.Why]int{}
	return h
}

// Run goes through the history and returns the first promise that was broken.
func (h *History) Run() error {
	// All of the circle on which the flow table keeps seconds.
	h.second = 1000 + 64*uint32(h.dice.roll(256))
	h.swept = h.second
	h.reconfigures = h.dice.roll(4) == 3
	h.wish = drawServices(&h.dice)
	if err := h.carryOut(); err != nil {
		return err
	}
	for !h.dice.over() {
		if err := h.event(); err != nil {
			return err
		}
	}
	return h.end()
}

func (h *History) event() error {
	switch event := h.dice.roll(256); {
	case event < 190:
		return h.packet()
	case event < 214:
		return h.tick(h.drawSeconds())
	case event < 234:
		for range 1 + h.dice.roll(3) {
			h.say("wish: %s", h.change())
		}
		return h.carryOut()
	case event < 248:
		return h.settle()
	default:
		return h.sweep()
	}
}

// explain is what an operator would be told of the packet before it is sent.
func (h *History) explain(p Packet) dataplane.Choice {
	e, _ := h.plane.Tables().Explain(&h.promises.lookup.hash, p.Client, p.VIP, h.second)
	if p.SYN {
		return e.NewFlow
	}
	return e.Later
}

func (h *History) packet() error {
	p := drawPacket(&h.dice)
	before := h.promises.look(p, h.second)
	explained := h.explain(p)
	chosen, err := h.plane.Send(p, h.second)
	if err != nil {
		return fmt.Errorf("second %d: sending %s: %w", h.second, p, err)
	}
	h.say("second %d: %s, %s, goes to %d", h.second, p, before, chosen)
	if chosen != explained.Backend {
		return fmt.Errorf("second %d: %s went to backend %d, and was explained to go to %d by %q", h.second, p, chosen, explained.Backend, explained.Why)
	}
	h.Seen.Packets++
	h.Seen.Explained[explained.Why]++
	h.Seen.Phases[before.Phase]++
	if chosen == dataplane.NoBackend {
		h.Seen.Dropped++
	}
	if err := h.promises.keep(p, before, chosen, h.second, &h.Seen); err != nil {
		return fmt.Errorf("second %d: %s, %s, went to backend %d: %w", h.second, p, before, chosen, err)
	}
	return nil
}

// tick lets time pass. The control plane sweeps before the circle of seconds
// makes expired flows look young.
func (h *History) tick(seconds uint32) error {
	h.second += seconds
	h.say("second %d", h.second)
	if h.second-h.swept > dataplane.MaxIdleSeconds/2 {
		return h.sweep()
	}
	return nil
}

// carryOut changes the tables to what is wished for, packets arriving between
// the steps. Sometimes it is interrupted, and the next change goes on.
func (h *History) carryOut() error {
	state := dataplane.State{Second: h.second}
	for i := range h.wish {
		state.Services = append(state.Services, h.wish[i].wanted())
	}
	steps, problems := dataplane.Diff(h.plane.Tables(), state)
	if len(problems) > 0 {
		return fmt.Errorf("second %d: problems %v", h.second, problems)
	}
	h.promises.begin(h.wish, h.second)
	h.Seen.Changes++
	for _, step := range steps {
		if h.dice.roll(40) == 39 {
			h.say("interrupted")
			h.Seen.Interrupted++
			return nil
		}
		if err := h.apply(step); err != nil {
			return err
		}
		for range h.dice.roll(3) {
			if err := h.packet(); err != nil {
				return err
			}
		}
	}
	return h.promises.finish()
}

func (h *History) apply(step dataplane.Step) error {
	h.say("second %d: %s", h.second, step)
	if freed, ok := step.(dataplane.DeleteBackend); ok {
		h.Seen.Freed++
		if err := h.promises.free(freed.Index); err != nil {
			return err
		}
	}
	return h.plane.Apply(step)
}

func (h *History) applyAll(steps []dataplane.Step) error {
	var failures []error
	for _, step := range steps {
		failures = append(failures, h.apply(step))
	}
	return errors.Join(failures...)
}

func (h *History) settle() error {
	return h.applyAll(dataplane.Settle(h.plane.Tables(), h.second))
}

func (h *History) sweep() error {
	h.swept = h.second
	census := h.plane.Sweep(h.second)
	h.say("second %d: swept: %+v", h.second, census)
	return h.applyAll(h.resting.Release(h.plane.Tables(), census, h.second))
}

// end is what every history leads to: without packets all slots settle, and
// without backends nothing is left of them.
func (h *History) end() error {
	h.dice.left = nil
	for i := range h.wish {
		h.wish[i].VIPs = h.wish[i].vips
	}
	if err := h.carryOut(); err != nil {
		return err
	}
	for range 3 { // learning, settling, settled
		if err := errors.Join(h.tick(longestIdle+1), h.settle()); err != nil {
			return err
		}
	}
	if err := h.promises.settled(); err != nil {
		return err
	}
	for i := range h.wish {
		h.wish[i].backends = nil
	}
	if err := errors.Join(h.carryOut(), h.sweep(), h.tick(longestIdle+1), h.sweep()); err != nil {
		return err
	}
	return h.promises.empty()
}

// Add sums up histories.
func (s *Seen) Add(other Seen) {
	s.Packets += other.Packets
	s.Dropped += other.Dropped
	s.Changes += other.Changes
	s.Interrupted += other.Interrupted
	s.Freed += other.Freed
	s.Checked += other.Checked
	s.ByLaw += other.ByLaw
	for phase, count := range other.Phases {
		s.Phases[phase] += count
	}
	if s.Explained == nil {
		s.Explained = map[dataplane.Why]int{}
	}
	for why, count := range other.Explained {
		s.Explained[why] += count
	}
}

// Tame says what never happened in histories, "" if all did.
func (s *Seen) Tame() string {
	counts := map[string]int{
		"packet was dropped":             s.Dropped,
		"change was interrupted":         s.Interrupted,
		"index was freed":                s.Freed,
		"flow had to stay where it was":  s.Checked,
		"law sent to a draining backend": s.ByLaw,
	}
	for phase, count := range s.Phases {
		counts["slot was "+dataplane.Phase(phase).String()] = count
	}
	for _, why := range dataplane.Rules {
		if why != dataplane.ByFullTable { // which depends on the table's size
			counts["packet was explained by "+string(why)] = s.Explained[why]
		}
	}
	for what, count := range counts {
		if count == 0 {
			return what
		}
	}
	return ""
}

// Shorten leaves dice out as long as something is still so.
func Shorten(bytes []byte, isSo func([]byte) bool) []byte {
	for size := len(bytes) / 2; size > 0; {
		shorter := false
		for at := 0; at+size <= len(bytes); {
			without := slices.Concat(bytes[:at], bytes[at+size:])
			if isSo(without) {
				bytes, shorter = without, true
			} else {
				at += size
			}
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	return bytes
}
