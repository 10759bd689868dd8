package controlplane

import (
	"log/slog"
	"maps"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// settling is what time alone brings: slots that settle, flows that expire,
// indexes that become free.
type settling struct {
	ticked     time.Time
	restless   bool // something is unsettled, dead or remembered
	pass       pass
	quarantine dataplane.Quarantine
	last       census
}

// census is what the last whole look through the flow table found.
type census struct {
	at    time.Time // its end
	flows int
	// connections of nat; byBackend has them, too
	connections int
	byBackend   map[uint32]int  // never changed
	empty       map[uint32]bool // draining backends of which nothing is left; never changed
}

// The pauses between ticks while something is restless, and else.
const (
	restlessTick = time.Second
	quietTick    = 10 * time.Second
)

// sweepChunk is how many entries of the flow table a tick looks at: 2 MiB, a
// millisecond or two. A table of the default size takes four ticks; the largest
// one takes 512, and even at the quiet pace that is less than the 8192 seconds
// after which an expired flow would look young again.
const sweepChunk = 1 << 18

// tick lets time have its way, if a tick is due. Before the program is attached to
// the tables, the one before notes in others what still needs a phase.
func (d *daemon) tick() {
	s := &d.settling
	if d.tables == nil || d.writing.pending() || !d.attach.tried() || time.Now().Before(s.wake()) {
		return
	}
	s.ticked = time.Now()
	second := d.second()
	unsettled := unsettledServices(d.tables)
	steps := dataplane.Settle(d.tables, second)
	if found, whole := s.pass.look(d.tables, second); whole {
		steps = append(steps, d.countConnections(&found, second)...)
		d.counted(found)
		steps = append(steps, s.quarantine.Release(d.tables, s.pass.doubted(d.tables, found), second)...)
	}
	if len(steps) > 0 && d.carryOut(steps) != nil {
		return
	}
	if len(unsettled) > 0 {
		d.placed = maps.Clone(d.placed)
		d.placed.count(d.tables, unsettled)
	}
	if !s.pass.begun {
		s.pass.begin(d.tables, d.vacant())
	}
	s.notice(d.tables)
}

func (s *settling) wake() time.Time {
	if s.restless {
		return s.ticked.Add(restlessTick)
	}
	return s.ticked.Add(quietTick)
}

// notice finds out whether time has anything to do.
func (s *settling) notice(tables *dataplane.Tables) {
	s.restless = s.last.flows+s.last.connections > 0 || anyRestless(tables)
}

// anyRestless looks no further than the first thing that is not at rest.
func anyRestless(tables *dataplane.Tables) bool {
	for _, entry := range tables.VIPs {
		if entry.Unsettled || entry.TrackAlways {
			return true
		}
	}
	for _, entry := range tables.Backends {
		if entry.Dead {
			return true
		}
	}
	return false
}

// unsettledServices are those whose slots change by themselves.
func unsettledServices(tables *dataplane.Tables) map[uint32]bool {
	ids := map[uint32]bool{}
	for _, entry := range tables.VIPs {
		if entry.Unsettled {
			ids[entry.Service] = true
		}
	}
	return ids
}

// pass is one look through the flow table, a chunk a tick, so that the loop is
// never kept from its news for long.
type pass struct {
	begun  bool
	next   int
	dead   map[uint32]bool // when it began
	vacant map[uint32]bool // draining backends that had no slot left then
	found  dataplane.Census
}

func (p *pass) begin(tables *dataplane.Tables, vacant map[uint32]bool) {
	*p = pass{begun: true, dead: map[uint32]bool{}, vacant: vacant, found: dataplane.Census{ByBackend: map[uint32]int{}}}
	for index, entry := range tables.Backends {
		if entry.Dead {
			p.dead[index] = true
		}
	}
}

// look goes through the next chunk, and returns what was found when the last is
// over.
func (p *pass) look(tables *dataplane.Tables, second uint32) (found dataplane.Census, whole bool) {
	if !p.begun {
		return dataplane.Census{}, false
	}
	end := min(p.next+sweepChunk, len(tables.Flows))
	if p.next < end {
		chunk := tables.Flows[p.next:end].Sweep(second, func(index uint32) bool {
			entry, known := tables.Backends[index]
			return known && !entry.Dead
		})
		p.found.Flows += chunk.Flows
		p.found.Cleared += chunk.Cleared
		for index, n := range chunk.ByBackend {
			p.found.ByBackend[index] += n
		}
		p.next = end
	}
	if end < len(tables.Flows) {
		return dataplane.Census{}, false
	}
	p.begun = false
	return p.found, true
}

// doubted is a census in which backends that died during the pass are named:
// the chunks that were looked at before do not prove that no flow does.
func (p *pass) doubted(tables *dataplane.Tables, found dataplane.Census) dataplane.Census {
	found.ByBackend = maps.Clone(found.ByBackend)
	for index, entry := range tables.Backends {
		if entry.Dead && !p.dead[index] {
			found.ByBackend[index]++
		}
	}
	return found
}

// vacant are the indexes of draining backends that have no slot any more, not
// even as a fallback.
func (d *daemon) vacant() map[uint32]bool {
	all := map[uint32]bool{}
	d.draining(func(_ desired.ServiceReport, _ desired.BackendReport, at placement) {
		if at.slots == 0 && at.fallback == 0 {
			all[at.index] = true
		}
	})
	return all
}

// draining visits the draining backends that the tables hold.
func (d *daemon) draining(visit func(desired.ServiceReport, desired.BackendReport, placement)) {
	for _, s := range d.report.Services {
		for _, b := range s.Backends {
			if b.State != desired.BackendDrain {
				continue
			}
			if at, held := d.placed[s.Name].backends[b.Key]; held {
				visit(s, b, at)
			}
		}
	}
}

// counted takes a census, and tells of drains that nothing is left of.
func (d *daemon) counted(found dataplane.Census) {
	before := d.settling.last.empty
	now := census{at: time.Now(), flows: found.Flows, connections: found.Connections, byBackend: found.ByBackend, empty: map[uint32]bool{}}
	d.draining(func(s desired.ServiceReport, b desired.BackendReport, at placement) {
		if !d.settling.pass.vacant[at.index] || at.slots > 0 || at.fallback > 0 || found.ByBackend[at.index] > 0 {
			return
		}
		now.empty[at.index] = true
		if !before[at.index] {
			d.events.tell(slog.LevelInfo, api.Event{Kind: kindBackend, Text: "backend is empty: no slot and no flow is left", Service: s.Name, Backend: address(b), State: string(b.State)},
				"drained_for", time.Since(b.Draining.Since).Round(time.Second).String())
		}
	})
	d.settling.last = now
}
