package api

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"time"
)

//go:embed page
var pageFiles embed.FS

// pageEvents are shown on the page.
const pageEvents = 50

// pagePolicy lets the page have what the daemon serves, and nothing from elsewhere.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pages are the routes of the web page, for those who look. It reads well without
// scripts.
func pages(source Source) []route {
	sheet := template.Must(template.New("page.html").Funcs(template.FuncMap{"short": Short, "ago": ago}).ParseFS(pageFiles, "page/page.html"))
	show := func(w http.ResponseWriter, r *http.Request) {
		view, err := newPageView(source, r.URL.Query().Get("name"))
		if err != nil {
			conclude(w, nil, err)
			return
		}
		var text bytes.Buffer
		if err := sheet.Execute(&text, view); err != nil {
			conclude(w, nil, fmt.Errorf("writing the page: %w", err))
			return
		}
		w.Header().Set("Content-Security-Policy", pagePolicy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(text.Bytes()) // who has gone does not read it
	}
	return []route{
		{method: http.MethodGet, path: "/", handle: show},
		{method: http.MethodGet, path: "/service", query: []string{"name"}, handle: show},
		{method: http.MethodGet, path: "/page.css", handle: pageFile("page/page.css", "text/css; charset=utf-8")},
		{method: http.MethodGet, path: "/page.js", handle: pageFile("page/page.js", "text/javascript; charset=utf-8")},
	}
}

func pageFile(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := pageFiles.ReadFile(name)
		if err != nil {
			conclude(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(text)
	}
}

// pageView is what the page shows: of all services, or of one.
type pageView struct {
	Now       time.Time
	Status    Status
	Services  []pageService
	Service   *pageService // nil for all
	Plots     []plot
	Overrides []Override
	Events    []Event // the latest first
	Outcomes  []pageOutcome
}

type pageService struct {
	ServiceBackends
	Spark plot
	Bars  []bar
}

type pageOutcome struct {
	Name    string
	Packets uint64
}

func newPageView(source Source, name string) (*pageView, error) {
	view := &pageView{Now: time.Now(), Status: source.Status()}
	history, err := source.Rates(name)
	if err != nil {
		return nil, err
	}
	list, err := selectBackends(source.Services(), name)
	if err != nil {
		return nil, NewProblem(http.StatusNotFound, err.Error())
	}
	past := map[string][]Rates{}
	for _, s := range history.Services {
		past[s.Name] = s.Rates
	}
	for _, s := range list.Services {
		view.Services = append(view.Services, pageService{s, newPlot("", history.Times, past[s.Name], packetsOf, 120, 24), bars(s.Phases)})
	}
	if name != "" {
		view.Service = &view.Services[0]
	}
	view.Plots = plots(history)
	overrides, err := source.Overrides(name, "")
	if err != nil {
		return nil, err
	}
	view.Overrides = overrides.Overrides
	events, _ := source.Events(name, 0)
	view.Events = slices.Clone(events.Events[max(0, len(events.Events)-pageEvents):])
	slices.Reverse(view.Events)
	for _, outcome := range slices.Sorted(maps.Keys(view.Status.Outcomes)) {
		if n := view.Status.Outcomes[outcome]; n > 0 {
			view.Outcomes = append(view.Outcomes, pageOutcome{outcome, n})
		}
	}
	slices.SortStableFunc(view.Outcomes, func(a, b pageOutcome) int { return cmp.Compare(b.Packets, a.Packets) })
	return view, nil
}

// ago is how long ago something was, in its two largest units.
func ago(at time.Time) string { return Age(time.Since(at)) }
