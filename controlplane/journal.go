package controlplane

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// journal tells of each change of state, once the data plane has it.
type journal struct {
	events *chronicle
	moves  *moves // are counted
	told   desired.Report
	looked time.Time // of the report that was told
	held   map[string]consul.Reason
}

// causes finds out how long a change took to be seen and to be carried out.
type causes struct {
	d               *daemon
	looked, arrived time.Time
}

// changes tells what is other than when it was called last.
func (j *journal) changes(now desired.Report, why causes) {
	for _, s := range now.Services {
		before, known := j.told.Service(s.Name)
		if known && s.Same(before) {
			continue
		}
		if !known || before.State != s.State {
			j.events.tell(level(s.State), api.Event{Kind: kindService, Text: "service is " + string(s.State), Service: s.Name,
				Was: string(before.State), State: string(s.State), Reason: s.Reason}, "up", s.Up, "backends", len(s.Backends))
		}
		j.backends(s, before, why)
	}
	for _, s := range j.told.Services {
		if _, still := now.Service(s.Name); !still {
			j.events.tell(slog.LevelInfo, api.Event{Kind: kindService, Text: "service is gone", Service: s.Name, Was: string(s.State), State: "gone"})
			j.moves.forgetService(s)
		}
	}
	j.told, j.looked = now, why.looked
}

// backends tells which changed. A service's first view is one line, and one for
// each backend that does not serve.
func (j *journal) backends(s, before desired.ServiceReport, why causes) {
	for _, b := range s.Backends {
		was, known := before.Find(b)
		same := known && was.State == b.State
		dawning := !known && b.State == desired.BackendUnknown // there will be more to say in a moment
		if !s.Ready || dawning || !before.Ready && b.State == desired.BackendUp {
			continue
		}
		if before.Ready && same {
			j.reweighed(s.Name, was, b, why)
			continue
		}
		j.moves.moved(s.Name, b)
		j.events.tell(slog.LevelInfo, why.timed(api.Event{Kind: kindBackend, Text: "backend is " + participle(b.State), Service: s.Name, Backend: address(b),
			Was: cmp.Or(string(was.State), "new"), State: string(b.State), Weight: &b.Weight, Reason: b.Reason}, b, j.looked))
	}
	if !before.Ready {
		return
	}
	for _, b := range before.Backends {
		if _, still := s.Find(b); !still {
			j.moves.forget(s.Name, b)
			j.events.tell(slog.LevelInfo, why.timed(api.Event{Kind: kindBackend, Text: "backend is gone", Service: s.Name, Backend: address(b),
				Was: string(b.State), State: "gone"}, b, j.looked))
		}
	}
}

// reweighed tells of a backend of the same state if its share is another one.
func (j *journal) reweighed(service string, was, b desired.BackendReport, why causes) {
	if was.Weight == b.Weight {
		return
	}
	reason := fmt.Sprintf("weight %d -> %d", was.Weight, b.Weight)
	if b.Reason != "" {
		reason += ": " + b.Reason
	}
	j.events.tell(slog.LevelInfo, why.timed(api.Event{Kind: kindBackend, Text: "backend has another weight", Service: service,
		Backend: address(b), State: string(b.State), Weight: &b.Weight, Reason: reason}, b, j.looked))
}

// timed is the event with the times that it took: detect_ms, where it is known, and
// apply_ms, from knowing of a change to the last map written.
func (c causes) timed(e api.Event, b desired.BackendReport, since time.Time) api.Event {
	now := time.Now()
	apply := milliseconds(now.Sub(c.arrived))
	e.AppliedAt, e.ApplyMS = &now, &apply
	if detect, consulAt, seen := c.detect(e.Service, b, since); seen {
		took := milliseconds(detect)
		e.DetectMS, e.ConsulAt = &took, consulAt
	}
	return e
}

// detect is how long it took from the first sign of the change to knowing of
// it: from the first probe that saw it, or from Consul's answer, and when that was.
func (c causes) detect(service string, b desired.BackendReport, since time.Time) (took time.Duration, consulAt *time.Time, seen bool) {
	candidates := c.d.candidates[service]
	i := slices.IndexFunc(candidates, func(x desired.Candidate) bool { return x.Addr == b.Addr })
	if i >= 0 {
		if v := c.d.prober.Verdict(probed(candidates[i].Key)); v.Since.After(since) {
			return v.DetectedIn(), nil, true
		}
	}
	if view := c.d.views[c.d.watchNames[service]]; view.Answered.After(since) {
		return max(0, c.arrived.Sub(view.Answered)), &view.Answered, true
	}
	return 0, nil, false
}

// views tells when Consul's word about a service cannot be had, and when it can
// be again.
func (j *journal) views(names map[string]string, views map[string]consul.View) {
	held := map[string]consul.Reason{}
	for service, name := range names {
		view := views[name]
		before, was := j.held[service]
		switch {
		case view.Reason != "" && before != view.Reason:
			var more []any
			if view.Known() {
				more = append(more, "confirmed", view.At)
			}
			j.events.tell(slog.LevelWarn, api.Event{Kind: kindConsul, Text: "Consul's view is held", Service: service, State: "held",
				Reason: fmt.Sprint(view.Err), Why: string(view.Reason)}, more...)
		case view.Reason == "" && was:
			j.events.tell(slog.LevelInfo, api.Event{Kind: kindConsul, Text: "Consul's view is confirmed again", Service: service, State: "confirmed"})
		}
		if view.Reason != "" {
			held[service] = view.Reason
		}
	}
	j.held = held
}

// reasonOf is the reason, if there is one: handlers leave out the zero Attr.
func reasonOf(reason string) slog.Attr {
	if reason == "" {
		return slog.Attr{}
	}
	return slog.String("reason", reason)
}

func participle(s desired.BackendState) string {
	if s == desired.BackendDrain {
		return "draining"
	}
	return string(s)
}

func level(s desired.ServiceState) slog.Level {
	if s == desired.OK || s == desired.Waiting {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

func address(b desired.BackendReport) string {
	switch {
	case !b.Addr.IsValid():
		return b.ID
	case b.Port == 0:
		return b.Addr.String()
	}
	return netip.AddrPortFrom(b.Addr, b.Port).String()
}

// milliseconds rounds to what is worth reading.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
