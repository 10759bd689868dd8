package controlplane

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
)

// find looks a backend up as operators name it, with its port or without.
func (p *page) find(service, text string) (desired.BackendReport, error) {
	s, known := p.report.Service(service)
	if !known {
		return desired.BackendReport{}, p.noService(service)
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

func (p *page) noService(name string) *api.Problem {
	var names []string
	for _, s := range p.report.Services {
		names = append(names, s.Name)
	}
	return refusal(http.StatusNotFound, "there is no service %q%s", name, nearest(name, names))
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
