package api

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// complete is a daemon of which there is everything to say.
type complete struct{ fixed }

func (complete) Measure() (Measurements, error) {
	now := time.Now()
	status := Status{
		Version: "1.0", Started: now, Config: ConfigStatus{Loaded: now}, Consul: &ConsulStatus{State: "ok"},
		Interfaces: []Interface{{Name: "eth0", Mode: "native", Outcomes: map[string]uint64{"DROP_NO_BACKEND": 2}}},
		Outcomes:   map[string]uint64{"FORWARD": 1, "DROP_NO_BACKEND": 5, "PASS_NOT_VIP": 0},
	}
	backend := Backend{Address: "10.20.0.11:443", State: "up", Weight: 1, Node: "n1", ConsulID: "web-1"}
	service := Service{Name: "web", ViewConfirmed: &now, BackendsUp: 1, Phases: map[string]Phases{"tcp": {Settled: 251}},
		Dropped: map[string]uint64{"DROP_NO_BACKEND": 2}}
	return Measurements{
		Status: status, Services: []ServiceBackends{{service, []Backend{backend}}},
		Traffic:    map[string]Traffic{"web": {Packets: 1 << 60, Bytes: 2, NewFlows: 3}},
		Rejections: map[string]map[string]uint64{"web": {"port": 1}}, WriteFailures: map[string]uint64{"slots": 1},
		StateChanges: map[BackendName]map[string]uint64{{"web", backend.Address}: {"up": 1}},
		Consul:       ConsulCounts{Watches: 1, Requests: map[string]uint64{"ok": 1}, Holds: map[string]uint64{"403": 1}},
	}, nil
}

func get(source Measured, path string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	WebHandler(source, NewTimings(), slog.New(slog.DiscardHandler)).ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
	return recorder
}

func TestMetricsAreAsPrometheusWantsThem(t *testing.T) {
	problems, err := promlint.New(get(complete{}, "/metrics").Body).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint says %v, %v", problems, err)
	}
}

func TestPacketsAreOfTheInterfaceThatTheyCameByUnlessTheyWereForwarded(t *testing.T) {
	text := get(complete{}, "/metrics").Body.String()
	var got []string
	for line := range strings.Lines(text) {
		if series, is := strings.CutPrefix(line, "pointsman_packets_total"); is {
			got = append(got, strings.TrimSpace(series))
		}
	}
	slices.Sort(got)
	want := []string{
		`{interface="",reason="DROP_NO_BACKEND",verdict="drop"} 3`,
		`{interface="",reason="FORWARD",verdict="forward"} 1`,
		`{interface="",reason="PASS_NOT_VIP",verdict="pass"} 0`,
		`{interface="eth0",reason="DROP_NO_BACKEND",verdict="drop"} 2`,
		`{interface="eth0",reason="PASS_NOT_VIP",verdict="pass"} 0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("served are\n%s", strings.Join(got, "\n"))
	}
}

var (
	typeLine = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	label    = regexp.MustCompile(`([a-z_]+)="`)
)

// catalogue is what is served as rows of docs/metrics.md: name, labels, kind.
func catalogue() (rows []string) {
	text := get(complete{}, "/metrics").Body.String()
	for _, match := range typeLine.FindAllStringSubmatch(text, -1) {
		sample := regexp.MustCompile(`(?m)^` + match[1] + `(?:_count)?[ {].*$`).FindString(text)
		labels := []string{}
		for _, name := range label.FindAllStringSubmatch(sample, -1) {
			labels = append(labels, "`"+name[1]+"`")
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", match[1], cmp.Or(strings.Join(labels, ", "), "–"), match[2]))
	}
	slices.Sort(rows)
	return rows
}

func TestTheDocumentOfMetricsNamesExactlyThoseThatAreServed(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, match := range regexp.MustCompile("(?m)^(\\| `pointsman_[a-z_]+` \\| [^|]*\\| [a-z]+ \\|)").FindAllSubmatch(text, -1) {
		documented = append(documented, string(match[1]))
	}
	slices.Sort(documented)
	if want := catalogue(); !slices.Equal(documented, want) {
		t.Errorf("docs/metrics.md has\n%s\nand these are served:\n%s", strings.Join(documented, "\n"), strings.Join(want, "\n"))
	}
}

// odd is a daemon that was told odd things.
type odd struct{ complete }

func (odd) Measure() (Measurements, error) {
	return Measurements{Services: []ServiceBackends{{Service{Name: "web"}, []Backend{
		{Address: "10.20.0.11:80", State: "rejected", ConsulID: "one"},
		{Address: "10.20.0.11:80", State: "rejected", ConsulID: "two"},
		{Address: "10.20.0.11:80", State: "up", ConsulID: "three", Node: "n\xffde \"1\"\n"},
	}}}}, nil
}

func TestNoNameFromElsewhereSpoilsAScrape(t *testing.T) {
	answer := get(odd{}, "/metrics")
	for _, line := range []string{
		`pointsman_service_backends{service="web",state="rejected"} 2`,
		`pointsman_backend_up{backend="10.20.0.11:80",service="web"} 1`,
		`pointsman_backend_info{backend="10.20.0.11:80",consul_id="three",node="n�de \"1\"\n",service="web"} 1`,
	} {
		if answer.Code != 200 || !strings.Contains(answer.Body.String(), "\n"+line+"\n") {
			t.Errorf("the answer %d lacks %s:\n%s", answer.Code, line, answer.Body)
		}
	}
}

// blind is a daemon whose counters cannot be read.
type blind struct{ complete }

func (blind) Measure() (Measurements, error) { return Measurements{}, errors.New("the map is gone") }

func TestCountersThatCannotBeReadFailTheScrapeInsteadOfLookingLikeANewStart(t *testing.T) {
	answer := get(blind{}, "/metrics")
	if answer.Code != 500 || !strings.Contains(answer.Body.String(), "reading the counters: the map is gone") {
		t.Errorf("the answer is %d: %s", answer.Code, answer.Body)
	}
}
