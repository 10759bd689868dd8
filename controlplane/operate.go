package controlplane

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/agext/levenshtein"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
)

// longestTTL keeps an override from being forgotten for good.
const longestTTL = 30 * 24 * time.Hour

// Drain asks for no new flows for a backend. It is kept when Drain returns, and
// the loop follows at once.
func (d *daemon) Drain(r api.DrainRequest, by string) (api.Override, error) {
	backend, err := d.published.Load().find(r.Service, r.Address)
	if err != nil {
		return api.Override{}, err
	}
	ttl, err := time.ParseDuration(r.TTL)
	if err != nil || ttl < time.Second || ttl > longestTTL {
		return api.Override{}, refusal(http.StatusBadRequest, "ttl %q is not a duration from 1s to %s", r.TTL, longestTTL)
	}
	now := time.Now()
	wish, err := d.overrides.put(desired.Override{
		Service: r.Service, Backend: backend.Key, Kind: desired.Drain,
		Reason: r.Reason, By: by, Since: now, Until: now.Add(ttl),
	})
	if err != nil {
		return api.Override{}, err
	}
	d.events.tell(slog.LevelInfo, api.Event{Kind: kindOverride, Text: "drain begins", Service: r.Service, Backend: address(backend), By: by, Reason: r.Reason}, "until", wish.Until)
	d.inbox.changed()
	return overrideView(wish, backend), nil
}

// Undrain takes an operator's drain back. What Consul or the file drains, only
// they can.
func (d *daemon) Undrain(r api.UndrainRequest, by string) (api.Override, error) {
	backend, err := d.published.Load().find(r.Service, r.Address)
	if err != nil {
		return api.Override{}, err
	}
	was, known, err := d.overrides.drop(desired.Override{Service: r.Service, Backend: backend.Key, Kind: desired.Drain})
	if err != nil {
		return api.Override{}, err
	}
	if !known {
		why := "it is " + string(backend.State)
		if backend.Reason != "" {
			why += ": " + backend.Reason
		}
		return api.Override{}, refusal(http.StatusConflict, "no operator drains %s of service %s; %s", address(backend), r.Service, why)
	}
	d.events.tell(slog.LevelInfo, api.Event{Kind: kindOverride, Text: "drain ends", Service: r.Service, Backend: address(backend), By: by})
	d.inbox.changed()
	return overrideView(was, backend), nil
}

func overrideView(w desired.Override, b desired.BackendReport) api.Override {
	return api.Override{
		SchemaVersion: api.SchemaVersion, Service: w.Service, Address: address(b), Kind: string(w.Kind),
		Reason: w.Reason, By: w.By, Since: w.Since, Until: w.Until,
	}
}

// expire ends the overrides whose time is over.
func (d *daemon) expire() {
	for _, w := range d.overrides.expire(time.Now()) {
		d.events.tell(slog.LevelInfo, api.Event{Kind: kindOverride, Text: "drain ends, its time is over", Service: w.Service, Backend: w.Backend.String(), By: w.By, Reason: w.Reason})
	}
}

// find looks a backend up as operators name it, with its port or without.
func (p *page) find(service, text string) (desired.BackendReport, error) {
	s, known := p.report.Service(service)
	if !known {
		var names []string
		for _, s := range p.report.Services {
			names = append(names, s.Name)
		}
		return desired.BackendReport{}, refusal(http.StatusNotFound, "there is no service %q%s", service, nearest(service, names))
	}
	wanted, err := parseID(text)
	if err != nil {
		return desired.BackendReport{}, refusal(http.StatusBadRequest, "%v", err)
	}
	var names []string
	var found []desired.BackendReport
	for _, b := range s.Backends {
		if b.State == desired.BackendRejected {
			continue
		}
		if b.Addr == wanted.Addr.Unmap() && (wanted.Port == 0 || wanted.Port == b.Port) {
			found = append(found, b)
		}
		names = append(names, address(b))
	}
	switch len(found) {
	case 0:
	case 1:
		return found[0], nil
	default:
		return desired.BackendReport{}, refusal(http.StatusConflict, "service %s has %d backends at %s; name one by its port, as in %s", service, len(found), wanted.Addr, address(found[0]))
	}
	at := netip.AddrPortFrom(wanted.Addr, wanted.Port).String()
	if wanted.Port == 0 {
		at = wanted.Addr.String()
	}
	return desired.BackendReport{}, refusal(http.StatusNotFound, "service %s has no backend %s%s", service, at, nearest(at, names))
}

// nearest lists what may have been meant, the most similar first.
func nearest(given string, names []string) string {
	if len(names) == 0 {
		return "; there are none"
	}
	slices.SortStableFunc(names, func(a, b string) int {
		return levenshtein.Distance(given, a, nil) - levenshtein.Distance(given, b, nil)
	})
	text := "; did you mean "
	if len(names) > 5 {
		names = names[:5]
	}
	return text + strings.Join(names, ", ") + "?"
}

func refusal(status int, format string, args ...any) *api.Problem {
	return api.NewProblem(status, fmt.Sprintf(format, args...))
}
