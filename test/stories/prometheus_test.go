package stories

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/test/traffic"
)

const (
	rulesFile     = "../../packaging/prometheus/pointsman.rules.yml"
	dashboardFile = "../../packaging/grafana/pointsman.json"
	// prometheusAddress is on the balancer, beside what it asks.
	prometheusAddress = "127.0.0.1:9090"
)

// prometheusSettings ask often, for tests have no minutes.
const prometheusSettings = `
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms }
rule_files: [pointsman.rules.yml]
scrape_configs:
  - job_name: pointsman
    static_configs: [{ targets: ["` + webAddress + `"] }]
`

// startPrometheus has a real one ask the balancer and judge by the alerts as they
// ship, but for how long something must be wrong.
func (s *stage) startPrometheus() {
	s.t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		s.t.Skip("prometheus is not here: apt-get install prometheus")
	}
	dir := s.t.TempDir()
	rules, err := os.ReadFile(rulesFile)
	s.must(err)
	hasty := regexp.MustCompile(`(?m)^( +for:) .*$`).ReplaceAllString(string(rules), "$1 0s")
	s.must(os.WriteFile(filepath.Join(dir, "pointsman.rules.yml"), []byte(hasty), 0o644))
	s.must(os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(prometheusSettings), 0o644))
	said := &spoken{}
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAddress)
	cmd.Stdout, cmd.Stderr = said, said
	p, err := s.Host.Start(cmd)
	s.must(err)
	s.t.Cleanup(func() {
		if err := p.Stop(); err != nil || s.t.Failed() {
			s.t.Logf("Prometheus ended with %v and says:\n%s", err, said)
		}
	})
}

// prometheus asks its API.
func (s *stage) prometheus(path string, data any) error {
	status, text, err := s.getFrom(prometheusAddress, "/api/v1/"+path)
	if err != nil || status != 200 {
		return fmt.Errorf("%s: %d %s %w", path, status, text, err)
	}
	return json.Unmarshal([]byte(text), &struct{ Data any }{data})
}

// rule is one as Prometheus has judged it last.
type rule struct {
	Name, Health, LastError string
	Alerts                  []struct {
		State               string
		Labels, Annotations map[string]string
	}
}

func (s *stage) rules() (all []rule, err error) {
	var answer struct{ Groups []struct{ Rules []rule } }
	err = s.prometheus("rules", &answer)
	for _, group := range answer.Groups {
		all = append(all, group.Rules...)
	}
	return all, err
}

// firing are the alerts that fire, with their summaries, but for the one that tells how
// busy this machine is.
func (s *stage) firing() (alerts []string, err error) {
	rules, err := s.rules()
	for _, rule := range rules {
		for _, alert := range rule.Alerts {
			if alert.State == "firing" && rule.Name != "PointsmanSlowToConverge" {
				alerts = append(alerts, rule.Name+": "+alert.Annotations["summary"])
			}
		}
	}
	slices.Sort(alerts)
	return alerts, err
}

// awaitFiring waits until exactly these fire.
func (s *stage) awaitFiring(want ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("these alerts fire: %q", want), func() error {
		got, err := s.firing()
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("these do: %q", got)
		}
		return err
	})
}

func TestPrivilegedPrometheusFiresWhatTheStateOfABalancerAsksFor(t *testing.T) {
	s := openDiscovered(t)
	s.startPrometheus()
	s.await("all rules were judged", func() error {
		rules, err := s.rules()
		for _, rule := range rules {
			if rule.Health != "ok" {
				err = fmt.Errorf("%s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
		}
		if err == nil && len(rules) == 0 {
			err = fmt.Errorf("there are none")
		}
		return err
	})
	s.awaitFiring()

	bothAre := func(status string) {
		s.must(s.agent().UpdateTTL("backend-1", "", status))
		s.must(s.agent().UpdateTTL("backend-2", "", status))
	}
	bothAre(api.HealthCritical)
	s.awaitFiring("PointsmanBackendsMissing: 66.67% of the backends of web are away")
	s.registerElsewhere(3, api.HealthCritical)
	s.awaitFiring("PointsmanBackendsMissing: 100% of the backends of web are away",
		"PointsmanServiceDown: web has no backend on "+webAddress)
	s.letFloodsThrough() // some packets that go nowhere, too few for an alert
	_, err := traffic.Flood{From: s.Lab.Client, To: s.load("tcp 192.0.2.1:80").To, Packets: 1}.Run(t.Context())
	s.must(err)
	bothAre(api.HealthPassing)
	s.registerElsewhere(3, api.HealthPassing)
	s.awaitFiring()
	s.everyPanelShowsSomething()

	s.configure("servise \"web\" {}")
	s.must(s.Reload())
	s.awaitFiring("PointsmanFileRefused: The configuration of " + webAddress + " has mistakes")
	s.must(s.Daemon.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = s.Daemon.Signal(syscall.SIGCONT) })
	s.awaitFiring("PointsmanDaemonDown: The daemon on " + webAddress + " does not answer")
}

// everyPanelShowsSomething has Prometheus answer what the dashboard asks. Only answers of
// Consul that were not used there were none of.
func (s *stage) everyPanelShowsSomething() {
	s.t.Helper()
	text, err := os.ReadFile(dashboardFile)
	s.must(err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	s.must(json.Unmarshal(text, &dashboard))
	asked := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expression := strings.NewReplacer("$__rate_interval", "1m", "$job", "pointsman", "$instance", ".*", "$service", ".*").Replace(target.Expr)
			asked++
			s.await(panel.Title+" shows something", func() error {
				var answer struct{ Result []any }
				err := s.prometheus("query?query="+url.QueryEscape(expression), &answer)
				if err == nil && len(answer.Result) == 0 && !strings.Contains(expression, "_holds_total") {
					err = fmt.Errorf("%s gives nothing", expression)
				}
				return err
			})
		}
	}
	if asked == 0 {
		s.t.Error("the dashboard asks nothing")
	}
}
