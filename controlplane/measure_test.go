package controlplane

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

const measured = `
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24"]
consul {}
service "web" {
  listen = ["192.0.2.10:443/tcp"]
  slots  = 251
  consul {}
}`

// scraped is a daemon whose backends are sent packets.
type scraped struct{ *stage }

func scrape(t *testing.T, story func(scraped)) {
	synctest.Test(t, func(t *testing.T) {
		s := scraped{newStage(t)}
		defer func() { s.end() }()
		s.event("start", "", "", []byte(measured))
		synctest.Wait()
		story(s)
	})
}

func (s scraped) see(view string) {
	s.view(s.watch("web"), view)
	synctest.Wait()
}

func (s scraped) index(backend string) uint32 {
	s.t.Helper()
	tables, err := s.plane.Tables()
	if err != nil {
		s.t.Fatal(err)
	}
	for index, entry := range tables.Backends {
		if entry.ID.String() == backend {
			return index
		}
	}
	return 0
}

func (s scraped) sent(backend string, packets uint64) {
	s.t.Helper()
	index := s.index(backend)
	counters, err := s.plane.Counters()
	if err != nil || index == 0 {
		s.t.Fatalf("%s cannot be sent anything, its index is %d: %v", backend, index, err)
	}
	counts := counters.Backends[index]
	counts.Packets += packets
	counters.Backends[index] = counts
	s.plane.SetCounters(counters)
}

// text is what a scrape gets.
func (s scraped) text() string {
	recorder := httptest.NewRecorder()
	api.WebHandler(s.daemon, s.daemon.timings, slog.New(slog.DiscardHandler)).ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	return recorder.Body.String()
}

func (s scraped) wants(when string, lines ...string) {
	s.t.Helper()
	text := s.text()
	for _, line := range lines {
		line, absent := strings.CutPrefix(line, "no ")
		if strings.Contains(text, "\n"+line) == absent {
			s.t.Errorf("%s, a scrape has %s: %v", when, line, absent)
		}
	}
}

const (
	bothServe = "10.20.0.11 passing\n10.20.0.12 passing"
	oneServes = "10.20.0.11 passing"
)

func TestAServicesCountersNeverGoBackWhenABackendLeaves(t *testing.T) {
	scrape(t, func(s scraped) {
		s.see(bothServe)
		s.sent("10.20.0.11", 100)
		s.sent("10.20.0.12", 50)
		s.wants("at first", `pointsman_service_packets_total{service="web"} 150`)
		s.sent("10.20.0.12", 7) // and nobody asks until it is forgotten
		s.see(oneServes)
		s.wants("when one is gone", `pointsman_service_packets_total{service="web"} 157`)
		s.sent("10.20.0.12", 1) // that was on its way
		time.Sleep(time.Hour)
		synctest.Wait()
		if s.index("10.20.0.12") != 0 {
			t.Fatal("its index is not free after an hour")
		}
		s.wants("when its index is free", `pointsman_service_packets_total{service="web"} 158`)
		s.see(bothServe)
		s.sent("10.20.0.12", 2)
		s.wants("when it is back", `pointsman_service_packets_total{service="web"} 160`, `pointsman_backend_packets_total{backend="10.20.0.12:443",service="web"} 2`)
		s.see(oneServes)
		s.see(bothServe)
		s.sent("10.20.0.12", 1)
		s.wants("when it was away for a moment", `pointsman_service_packets_total{service="web"} 161`)
	})
}

func TestAServicesCountersBeginAtZeroWithTheDaemon(t *testing.T) {
	scrape(t, func(s scraped) {
		s.see(bothServe)
		s.sent("10.20.0.11", 100)
		s.event("restart", "", "", []byte(measured))
		synctest.Wait()
		s.see(bothServe)
		s.sent("10.20.0.11", 5)
		s.wants("after a restart", `pointsman_service_packets_total{service="web"} 5`, `pointsman_backend_packets_total{backend="10.20.0.11:443",service="web"} 105`)
	})
}

func TestWhatIsGoneVanishesFromTheScrape(t *testing.T) {
	scrape(t, func(s scraped) {
		s.see(bothServe)
		s.see("10.20.0.11 passing\n10.20.0.12 critical")
		s.wants("while it is down", `pointsman_backend_up{backend="10.20.0.12:443",service="web"} 0`,
			`pointsman_backend_state_changes_total{backend="10.20.0.12:443",service="web",to="down"} 1`, `pointsman_service_backends{service="web",state="down"} 1`)
		s.see(oneServes)
		if text := s.text(); strings.Contains(text, "10.20.0.12") || strings.Contains(text, `state="down"`) || !strings.Contains(text, "10.20.0.11") {
			t.Errorf("when the backend is gone, a scrape has:\n%s", text)
		}
		s.event("reload", "", "", []byte(strings.ReplaceAll(measured, `"web"`, `"www"`)))
		synctest.Wait()
		if text := s.text(); strings.Contains(text, `"web"`) || !strings.Contains(text, `"www"`) {
			t.Errorf("when the service is gone, a scrape has:\n%s", text)
		}
	})
}

func TestMetricsOfSingleBackendsCanBeSwitchedOff(t *testing.T) {
	scrape(t, func(s scraped) {
		s.see(bothServe)
		s.event("reload", "", "", []byte("backend_metrics = false\n"+measured))
		synctest.Wait()
		s.wants("without backends", "no pointsman_backend_", `pointsman_service_backends{service="web",state="up"} 2`)
	})
}

func TestChangesOfTheTablesAreCountedAndTimed(t *testing.T) {
	scrape(t, func(s scraped) {
		s.wants("before Consul's first word", "pointsman_generation 0", "pointsman_convergence_duration_seconds_count 0")
		s.see(bothServe)
		s.wants("after it", "pointsman_generation 1", "pointsman_convergence_duration_seconds_count 1", "pointsman_map_apply_duration_seconds_count 1", `pointsman_map_errors_total{map="slots"} 0`, `pointsman_map_errors_total{map="egress"} 0`)
		s.plane.FailAfter(0)
		s.see(oneServes)
		s.plane.FailAfter(-1)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.wants("after a failure", `no pointsman_map_errors_total{map="services"} 0`, `pointsman_map_errors_total{map="egress"} 0`, "no pointsman_generation 1\n")
	})
}

func TestRejectionsAreCountedByTheirReason(t *testing.T) {
	scrape(t, func(s scraped) {
		s.see("10.20.0.11 passing\n127.0.0.1 passing\n192.0.2.77 passing")
		s.see(oneServes)
		s.see("10.20.0.11 passing\n192.0.2.77 passing")
		s.wants("after three of them", `pointsman_instances_rejected_total{reason="address",service="web"} 1`, `pointsman_instances_rejected_total{reason="vip",service="web"} 2`)
		s.event("reload", "", "", []byte(strings.ReplaceAll(measured, `"web"`, `"www"`)))
		synctest.Wait()
		s.wants("when the service is gone", "no pointsman_instances_rejected_total")
	})
}
