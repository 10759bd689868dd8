package api

import (
	"context"
	"flag"
	"fmt"
	"image/png"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var screenshot = flag.String("screenshot", "", "keep the picture of the page in this file")

// lively is a daemon with something of everything.
type lively struct {
	complete
	asked *atomic.Int32
}

func (l lively) Status() Status {
	l.asked.Add(1)
	return Status{State: "degraded", Version: "1.0", Started: time.Now().Add(-26 * time.Hour), Services: ServiceCounts{OK: 2, Degraded: 1},
		Warnings:   []string{"service web is degraded: 1 of 3 backends not up"},
		Consul:     &ConsulStatus{State: "ok"},
		Interfaces: []Interface{{Name: "eth0", Mode: "native"}, {Name: "eth1", Mode: "generic"}},
		Outcomes:   map[string]uint64{"FORWARD": 123456, "PASS_NOT_VIP": 234, "DROP_NO_BACKEND": 7, "DROP_TTL": 0}}
}

func (lively) Services() []ServiceBackends {
	now := time.Now()
	backend := func(n int, state, reason string) Backend {
		return Backend{Address: fmt.Sprintf("10.20.0.%d:443", n), Weight: 1, State: state, Reason: reason, Since: now.Add(-time.Hour), Slots: 21845, Node: fmt.Sprint("n", n), Rates: Rates{12, 3400, 5.6e6}}
	}
	return []ServiceBackends{
		{Service: Service{Name: "api", Listen: []string{"192.0.2.11:443/tcp"}, Forward: "gue", State: "ok", BackendsUp: 1, BackendsTotal: 1,
			Phases: map[string]Phases{"tcp": {Settled: 65537}}, Rates: Rates{80, 12000, 9.3e7}}, Backends: []Backend{backend(31, "up", "")}},
		{Service: Service{Name: "dns", Listen: []string{"192.0.2.53:53/udp", "192.0.2.53:53/tcp"}, Forward: "l2", State: "ok", BackendsUp: 1, BackendsTotal: 1,
			Phases: map[string]Phases{"tcp": {Settled: 65537}, "udp": {Settled: 20000, Learning: 45537}}, Rates: Rates{450, 910, 7.1e5}}, Backends: []Backend{backend(21, "up", "")}},
		{Service: Service{Name: "web", Listen: []string{"192.0.2.10:443/tcp", "[2001:db8:10::10]:443/tcp"}, Forward: "ipip", State: "degraded", Reason: "1 of 3 backends not up", BackendsUp: 1, BackendsTotal: 3,
			Phases: map[string]Phases{"tcp": {Settled: 43692, Moving: 15000, Settling: 6845}}, Rates: Rates{210, 43000, 4.2e8}},
			Backends: []Backend{backend(11, "up", ""), backend(12, "down", "critical in Consul: <script>alert(503)</script>"), backend(13, "drain", "drained by ada: new kernel")}},
	}
}

func (lively) Rates(service string) (RateHistory, error) {
	if service == "wbe" {
		return RateHistory{}, NewProblem(http.StatusNotFound, "there is no service wbe")
	}
	history := RateHistory{}
	now := time.Now()
	for i := range 120 {
		history.Times = append(history.Times, now.Add(time.Duration(i-119)*5*time.Second))
	}
	for i, name := range []string{"api", "dns", "web"} {
		if service != "" && service != name {
			continue
		}
		s := ServiceRates{Name: name}
		for k := range 120 {
			wave := 1 + .3*math.Sin(float64(k)/9+float64(i)) + .1*math.Sin(float64(k*(i+2)))
			s.Rates = append(s.Rates, Rates{200 * wave, float64(15000*(i+1)) * wave, float64(1.4e8*float64(i+1)) * wave})
		}
		history.Services = append(history.Services, s)
	}
	return history, nil
}

func (lively) Overrides(string, string) (Overrides, error) {
	return Overrides{Overrides: []Override{{Service: "web", Address: "10.20.0.13:443", Kind: "drain", State: "drain", By: "ada", Until: time.Now().Add(time.Hour), Reason: "new kernel"}}}, nil
}

func (lively) Events(string, uint64) (Events, <-chan struct{}) {
	now := time.Now()
	detect, apply := 3.2, 1.14
	return Events{Events: []Event{
		{ID: 1, At: now.Add(-time.Hour), Level: "info", Text: "attached", Interface: "eth0", State: "native"},
		{ID: 2, At: now.Add(-time.Minute), Level: "info", Text: "backend is down", Service: "web", Backend: "10.20.0.12:443", ConsulAt: &now, DetectMS: &detect, ApplyMS: &apply, Reason: "critical in Consul"},
		{ID: 3, At: now, Level: "info", Text: "drain begins", Service: "web", Backend: "10.20.0.13:443", By: "ada", Reason: "new kernel"},
	}}, nil
}

// site serves the page as the daemon does.
func site(t *testing.T) (address string, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	return listening(t, WebHandler(lively{asked: asked}, NewTimings(), slog.New(slog.DiscardHandler))), asked
}

func listening(t *testing.T, handler http.Handler) (address string) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// browse lets a browser that has never been used look at the page.
func browse(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	browser := exec.CommandContext(ctx, "chromium", append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(), "--window-size=1400,1080",
	}, args...)...)
	browser.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := browser.Output()
	if err != nil {
		t.Fatalf("the browser: %v (apt-get install chromium)", err)
	}
	return string(out)
}

var tags = regexp.MustCompile(`<[^>]*>`)

func TestThePageShowsEverythingWithoutScripts(t *testing.T) {
	asked := new(atomic.Int32)
	page := WebHandler(lively{asked: asked}, NewTimings(), slog.New(slog.DiscardHandler))
	address := listening(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page.js" {
			http.NotFound(w, r) // as where scripts are off; a browser dumps what it has by a script of its own
			return
		}
		page.ServeHTTP(w, r)
	}))
	for path, wants := range map[string][]string{
		"/": {"services 2 ok, 1 degraded, 0 down", "service web is degraded", "Packets per second", "192.0.2.10:443/tcp", "1/3", "43k",
			"10.20.0.13:443", "drain begins", "by ada: new kernel", "backend is down", "attached to eth0", "FORWARD", "123456", "<title>tcp: 43692 settled, 15000 moving, 6845 settling</title>"},
		"/service?name=web": {"web: ipip", "10.20.0.11:443", "critical in Consul: &lt;script&gt;alert(503)&lt;/script&gt;", "Pointsman / web"},
	} {
		text := browse(t, "--dump-dom", address+path)
		for _, want := range wants {
			if !strings.Contains(text, want) && !strings.Contains(tags.ReplaceAllString(text, ""), want) {
				t.Errorf("%s lacks %q:\n%s", path, want, text)
			}
		}
		if strings.Contains(text, "DROP_TTL") || strings.Contains(text, "<script>alert") {
			t.Error("it shows what never happened, or what a backend's check said as markup")
		}
	}
	if n := asked.Load(); n < 2 {
		t.Errorf("the daemon was asked %d times", n)
	}
}

func TestThePageIsShownAnewByItsScript(t *testing.T) {
	address, asked := site(t)
	// The browser's own time runs while nothing is fetched, so that this takes none.
	text := browse(t, "--virtual-time-budget=16000", "--dump-dom", address+"/")
	if !strings.Contains(text, `data-refreshed="`) || strings.Contains(text, "data-lost") || asked.Load() < 2 || !strings.Contains(text, "192.0.2.10:443/tcp") {
		t.Errorf("asked %d times, it has:\n%s", asked.Load(), text)
	}
}

func TestThePageIsAPicture(t *testing.T) {
	address, _ := site(t)
	file := *screenshot
	if file == "" {
		file = filepath.Join(t.TempDir(), "page.png")
	}
	browse(t, "--hide-scrollbars", "--screenshot="+file, address+"/")
	picture, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	image, err := png.Decode(picture)
	if err != nil {
		t.Fatal(err)
	}
	colours := map[string]bool{}
	for y := 0; y < image.Bounds().Dy(); y += 2 {
		for x := 0; x < image.Bounds().Dx(); x += 2 {
			r, g, b, _ := image.At(x, y).RGBA()
			colours[fmt.Sprintf("%02x%02x%02x", r>>8, g>>8, b>>8)] = true
		}
	}
	for what, colour := range map[string]string{"curves": "2563eb", "settled slots": "8aa3bd", "moving slots": "d97706", "learning slots": "7c3aed", "settling slots": "0891b2"} {
		if !colours[colour] {
			t.Errorf("there are no %s among %d colours", what, len(colours))
		}
	}
}

func TestThePageHasNothingFromElsewhereAndMayNot(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]`)
	handler := WebHandler(lively{asked: new(atomic.Int32)}, NewTimings(), slog.New(slog.DiscardHandler))
	for _, path := range []string{"/", "/service?name=web", "/page.css", "/page.js"} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		if answer.Code != http.StatusOK || elsewhere.MatchString(answer.Body.String()) {
			t.Errorf("%s is answered with %d and has %q", path, answer.Code, elsewhere.FindString(answer.Body.String()))
		}
		if strings.Contains(answer.Header().Get("Content-Type"), "html") && answer.Header().Get("Content-Security-Policy") != pagePolicy {
			t.Errorf("%s has no policy", path)
		}
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest("GET", "/service?name=wbe", nil))
	if answer.Code != http.StatusNotFound {
		t.Errorf("a service that is not there is answered with %d", answer.Code)
	}
}

func TestAPlotGoesFromZeroToTheLargest(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	times := []time.Time{at, at.Add(30 * time.Second), at.Add(2 * time.Minute)}
	p := newPlot("x", times, []Rates{{Packets: 0}, {Packets: 50}, {Packets: 100}}, packetsOf, 120, 22)
	if p.Curve != "0.0,22.0 30.0,12.0 120.0,2.0" || p.Area != "0,22 0.0,22.0 30.0,12.0 120.0,2.0 120,22" || p.Latest != 100 || p.Most != 100 || p.Minutes != 2 {
		t.Errorf("got %+v", p)
	}
	for _, rates := range [][]Rates{nil, {{}}, {{}, {}}} {
		if p := newPlot("x", times, rates, packetsOf, 10, 10); strings.Contains(p.Curve, "NaN") {
			t.Errorf("of %d: %s", len(rates), p.Curve)
		}
	}
	all := bars(map[string]Phases{"udp": {Settled: 1, Learning: 3}, "tcp": {}})
	if len(all) != 2 || len(all[0].Parts) != 0 || !slices.Equal(all[1].Parts, []barPart{{"settled", 0, 25}, {"learning", 25, 75}}) {
		t.Errorf("bars are %+v", all)
	}
}
