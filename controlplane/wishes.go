package controlplane

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
)

// longestTTL keeps an override from being forgotten for good, and longestReason a
// list of them from being one of novels.
const (
	longestTTL    = 30 * 24 * time.Hour
	longestReason = 200
)

// Override takes an operator's wish. It is kept when Override returns, and the loop
// follows at once.
func (d *daemon) Override(kind string, r api.OverrideRequest, by string) (api.Override, error) {
	p := d.published.Load()
	backend, err := p.find(r.Service, r.Address)
	if err != nil {
		return api.Override{}, err
	}
	ttl, err := checkWish(desired.OverrideKind(kind), r, by)
	if err != nil {
		return api.Override{}, err
	}
	now := time.Now()
	wish, err := d.overrides.put(desired.Override{
		Service: r.Service, Backend: backend.Key, Kind: desired.OverrideKind(kind), Weight: r.Weight,
		Reason: r.Reason, By: by, Since: now, Until: now.Add(ttl),
	})
	if err != nil {
		return api.Override{}, err
	}
	d.tellOfOverride("begins", address(backend), wish, by, "until", wish.Until)
	d.inbox.changed()
	return p.override(wish), nil
}

// checkWish refuses what cannot be kept or would garble the lists and logs that it
// comes to stand in.
func checkWish(kind desired.OverrideKind, r api.OverrideRequest, by string) (ttl time.Duration, err error) {
	ttl, err = time.ParseDuration(r.TTL)
	switch {
	case err != nil || ttl < time.Second || ttl > longestTTL:
		return 0, refusal(http.StatusBadRequest, "ttl %q is not a duration from 1s to %s", r.TTL, longestTTL)
	case kind == desired.Reweigh && (r.Weight < 1 || r.Weight > desired.MaxWeight):
		return 0, refusal(http.StatusBadRequest, "weight %d is not from 1 to %d; drain and disable are for none", r.Weight, desired.MaxWeight)
	case kind != desired.Reweigh && r.Weight != 0:
		return 0, refusal(http.StatusBadRequest, "a %s has no weight", kind)
	}
	for name, text := range map[string]string{"reason": r.Reason, "by": by} {
		if len(text) > longestReason || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return 0, refusal(http.StatusBadRequest, "%s is longer than %d bytes, or has characters that cannot be printed", name, longestReason)
		}
	}
	return ttl, nil
}

// Lift takes an operator's wish back. What Consul or the file wants, only they can
// take back.
func (d *daemon) Lift(kind string, r api.LiftRequest, by string) (api.Override, error) {
	p := d.published.Load()
	backend, err := p.find(r.Service, r.Address)
	if err != nil {
		return api.Override{}, err
	}
	was, known, err := d.overrides.drop(desired.Override{Service: r.Service, Backend: backend.Key, Kind: desired.OverrideKind(kind)})
	if err != nil {
		return api.Override{}, err
	}
	if !known {
		why := "it is " + string(backend.State)
		if backend.Reason != "" {
			why += ": " + backend.Reason
		}
		return api.Override{}, refusal(http.StatusConflict, "no operator %ss %s of service %s; %s", kind, address(backend), r.Service, why)
	}
	d.tellOfOverride("ends", address(backend), was, by)
	d.inbox.changed()
	return p.override(was), nil
}

// Clear ends all overrides of a service and a backend, unless these are "".
func (d *daemon) Clear(r api.ClearRequest, by string) (api.Overrides, error) {
	p := d.published.Load()
	concerns, err := p.concerning(r.Service, r.Address)
	if err != nil {
		return api.Overrides{}, err
	}
	ended, err := d.overrides.dropAll(concerns)
	if err != nil {
		return api.Overrides{}, err
	}
	for _, was := range ended {
		d.tellOfOverride("ends", p.override(was).Address, was, by)
	}
	d.inbox.changed()
	return p.overrideList(ended), nil
}

// Overrides are what operators want, for the API.
func (d *daemon) Overrides(service, address string) (api.Overrides, error) {
	p := d.published.Load()
	concerns, err := p.concerning(service, address)
	if err != nil {
		return api.Overrides{}, err
	}
	var all []desired.Override
	for _, o := range d.overrides.list() {
		if concerns(o) {
			all = append(all, o)
		}
	}
	return p.overrideList(all), nil
}

// concerning tells which overrides are of a service and a backend. These may be gone
// and their overrides not.
func (p *page) concerning(service, address string) (func(desired.Override) bool, error) {
	if address == "" {
		return func(o desired.Override) bool { return service == "" || o.Service == service }, nil
	}
	wanted, err := parseID(address)
	if err != nil {
		return nil, refusal(http.StatusBadRequest, "%v", err)
	}
	return func(o desired.Override) bool {
		port := o.Backend.Port
		if b, known := p.backend(o); known {
			port = b.Port
		}
		return (service == "" || o.Service == service) && o.Backend.Addr == wanted.Addr.Unmap() && (wanted.Port == 0 || wanted.Port == port)
	}, nil
}

// backend is the one that an override is about, if it is there.
func (p *page) backend(o desired.Override) (desired.BackendReport, bool) {
	s, _ := p.report.Service(o.Service)
	i := slices.IndexFunc(s.Backends, func(b desired.BackendReport) bool { return b.Key == o.Backend && b.State != desired.BackendRejected })
	if i < 0 {
		return desired.BackendReport{}, false
	}
	return s.Backends[i], true
}

func (p *page) overrideList(all []desired.Override) api.Overrides {
	list := api.Overrides{SchemaVersion: api.SchemaVersion, Overrides: []api.Override{}}
	all = slices.SortedFunc(slices.Values(all), func(a, b desired.Override) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), a.Backend.Addr.Compare(b.Backend.Addr), cmp.Compare(a.Backend.Port, b.Backend.Port), cmp.Compare(a.Kind, b.Kind))
	})
	for _, o := range all {
		list.Overrides = append(list.Overrides, p.override(o))
	}
	return list
}

func (p *page) override(o desired.Override) api.Override {
	view := api.Override{
		SchemaVersion: api.SchemaVersion, Service: o.Service, Address: o.Backend.String(), Kind: string(o.Kind), Weight: o.Weight,
		State: "gone", Reason: o.Reason, By: o.By, Since: o.Since, Until: o.Until,
	}
	if b, known := p.backend(o); known {
		view.Address, view.State = address(b), string(b.State)
	}
	return view
}

// expire ends the overrides whose time is over.
func (d *daemon) expire() {
	for _, was := range d.overrides.expire(time.Now()) {
		d.tellOfOverride("ends, its time is over", was.Backend.String(), was, was.By)
	}
}

func (d *daemon) tellOfOverride(happened, address string, o desired.Override, by string, more ...any) {
	name := string(o.Kind)
	if o.Kind == desired.Reweigh {
		name = fmt.Sprintf("weight %d", o.Weight)
	}
	d.events.tell(slog.LevelInfo, api.Event{Kind: kindOverride, Text: name + " " + happened, Service: o.Service, Backend: address, By: by, Reason: o.Reason}, more...)
}
