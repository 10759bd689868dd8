package stories

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
)

// webAddress is where the balancer answers unless its file says otherwise.
const webAddress = "127.0.0.1:9731"

// get asks on the balancer itself, as Prometheus's neighbour would.
func (s *stage) get(path string) (status int, body string, err error) {
	return s.getFrom(webAddress, path)
}

func (s *stage) getFrom(address, path string) (status int, body string, err error) {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.Host.Dial(ctx, network, address)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	answer, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// metrics are the samples of a scrape, by name and labels.
func (s *stage) metrics() map[string]float64 {
	s.t.Helper()
	status, text, err := s.get("/metrics")
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("a scrape is answered with %d, %v: %s", status, err, text)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(text) {
		if at := strings.LastIndexByte(line, ' '); line[0] != '#' && at > 0 {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			s.must(err)
			samples[line[:at]] = value
		}
	}
	return samples
}

// sample is how a counter of an outcome of what came by eth0 is named.
func sample(outcome string) string {
	verdict, _, _ := strings.Cut(outcome, "_")
	by := "eth0"
	if verdict == "FORWARD" { // which is not counted by interface
		by = ""
	}
	return fmt.Sprintf(`pointsman_packets_total{interface=%q,reason=%q,verdict=%q}`, by, outcome, strings.ToLower(verdict))
}

// fewest is how many packets 20 requests are at least: a SYN and a question each.
const fewest = 2 * 20

const twoWebs = `
service "web" {
  listen = ["192.0.2.1:80/tcp"]
  slots  = 251
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" {}
}
service "other" {
  listen = ["192.0.2.2:80/tcp"]
  slots  = 251
  backend "{{v4 1}}" {}
}`

func TestPrivilegedAScrapeShowsWhatThereIsAndNothingElse(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.begin(twoWebs)
	s.await("it is ready", func() error {
		if status, text, err := s.get("/readyz?strict=1"); status != http.StatusOK {
			return fmt.Errorf("%d %v %s", status, err, text)
		}
		return nil
	})
	s.allAnswered("192.0.2.1:80", s.ask("http 192.0.2.1:80", 20))
	first := s.metrics()
	for outcome, packets := range s.status().Outcomes {
		if got, shown := first[sample(outcome)]; !shown {
			t.Errorf("%s, which status counts %d times, is not shown", outcome, packets)
		} else if got > float64(packets) {
			t.Errorf("%s was counted %v times in a scrape, and %d times after it", outcome, got, packets)
		}
	}
	s.documented(first)
	second := fmt.Sprintf(`pointsman_backend_packets_total{backend="%s:80",service="web"}`, s.backend(2).Addr4)
	if first[`pointsman_service_packets_total{service="web"}`] < fewest || first[second] == 0 || first[`pointsman_interface_attached{interface="eth0",mode="native"}`] != 1 {
		t.Errorf("there are %v", first)
	}

	s.reload(strings.Replace(twoWebs[:strings.Index(twoWebs, "\nservice \"other\"")], `backend "{{v4 2}}" {}`, "", 1))
	s.awaitBackends("web", "backend-1 up")
	s.allAnswered("192.0.2.1:80", s.ask("http 192.0.2.1:80", 20))
	now := s.metrics()
	for name, value := range first {
		after, still := now[name]
		gone := strings.Contains(name, "other") || strings.Contains(name, s.backend(2).Addr4.String())
		if gone == still {
			t.Errorf("after the reload there is %s: %v", name, still)
		}
		if strings.Contains(name, "_total") && still && after < value {
			t.Errorf("%s went back from %v to %v", name, value, after)
		}
	}
	if before, after := first[`pointsman_service_packets_total{service="web"}`], now[`pointsman_service_packets_total{service="web"}`]; after < before+fewest {
		t.Errorf("the service's packets went from %v to %v", before, after)
	}
}

// documented holds samples to docs/metrics.md.
func (s *stage) documented(samples map[string]float64) {
	s.t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	s.must(err)
	var names []string
	for _, match := range regexp.MustCompile("(?m)^\\| `(pointsman_[a-z_]+)`").FindAllSubmatch(text, -1) {
		names = append(names, string(match[1]))
	}
	series := regexp.MustCompile(`(_bucket|_sum|_count)?(\{.*)?$`)
	for name := range samples {
		if name := series.ReplaceAllString(name, ""); !slices.Contains(names, name) {
			s.t.Errorf("docs/metrics.md lacks %s", name)
		}
	}
}

func TestPrivilegedPacketsAreForwardedWhereMetricsCannotBeServed(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	other, err := s.Host.Listen("tcp", webAddress)
	s.must(err)
	s.configure(twoWebs)
	s.must(s.Start())
	s.awaitBackends("web", "backend-1 up", "backend-2 up")
	s.awaitWarning("metrics are not served: another process listens on " + webAddress + "; stop it, or give http_listen another address")
	s.await("the program is attached", func() error { return balancer.Attached(s.status()) })
	s.allAnswered("192.0.2.1:80", s.ask("http 192.0.2.1:80", 20))
	s.must(other.Close())
	s.await("metrics are served once they can be", func() error {
		status, _, err := s.get("/healthz")
		if status != http.StatusOK {
			return fmt.Errorf("%d %v", status, err)
		}
		return nil
	})
	s.configure("http_listen = \"\"\n" + twoWebs)
	s.must(s.Daemon.Stop())
	s.must(s.Start())
	_, err = s.AwaitReady(t.Context())
	s.must(err)
	if _, _, err := s.get("/healthz"); err == nil {
		t.Error("somebody answers, and the file wants nobody to")
	}
}
