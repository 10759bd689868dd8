package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	rulesPath     = "packaging/prometheus/pointsman.rules.yml"
	ruleTestsPath = "packaging/prometheus/pointsman.rules_test.yml"
	dashboardPath = "packaging/grafana/pointsman.json"
)

// examiner builds the program that compares expressions with docs/metrics.md, which
// other tests hold to what is served. It parses PromQL by a library that the product
// does not need.
func examiner(t *testing.T) (examine func(files ...string) string) {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "served")
	if out, err := exec.Command("go", "build", "-C", "tools", "-o", tool, "./served").CombinedOutput(); err != nil {
		t.Fatalf("building test/tools/served: %v\n%s", err, out)
	}
	outcomes := regexp.MustCompile("(?m)^\\| `((?:FORWARD|PASS|REPLY|HOLD|DROP)[A-Z0-9_]*)` \\|").FindAllStringSubmatch(read(t, "README.md"), -1)
	var reasons []string
	for _, outcome := range outcomes {
		reasons = append(reasons, outcome[1])
	}
	return func(files ...string) string {
		out, err := exec.Command(tool, append([]string{
			"-catalogue", "../docs/metrics.md",
			"-values", "pointsman_packets_total:reason=" + strings.Join(reasons, ","),
			"-values", "pointsman_service_dropped_packets_total:reason=" + strings.Join(reasons, ","),
			"-values", "pointsman_packets_total:verdict=forward,pass,reply,hold,drop",
			"-values", "pointsman_interface_attached:mode=native,generic,missing",
			"-values", "pointsman_service_slots:phase=settled,moving,learning,settling",
			"-values", "pointsman_service_backends:state=" + backendStates(t),
			"-values", "pointsman_backend_state_changes_total:to=" + backendStates(t),
		}, files...)...).CombinedOutput()
		if exit, is := err.(*exec.ExitError); err != nil && (!is || exit.ExitCode() != 1) {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
}

// backendStates are all that a backend can be in, from where they are defined.
func backendStates(t *testing.T) string {
	t.Helper()
	var states []string
	for _, match := range regexp.MustCompile(`Backend\w+ +BackendState = "(\w+)"`).FindAllStringSubmatch(read(t, "controlplane/desired/report.go"), -1) {
		states = append(states, match[1])
	}
	if len(states) < 5 {
		t.Fatalf("the states of backends are %q", states)
	}
	return strings.Join(states, ",")
}

func TestAlertsAndDashboardAskForWhatIsServed(t *testing.T) {
	examine := examiner(t)
	if problems := examine("../"+rulesPath, "../"+dashboardPath); problems != "" {
		t.Errorf("they do not:\n%s", problems)
	}
	for _, row := range []struct{ file, from, to, problem string }{
		{rulesPath, "pointsman_service_up == 0", "pointsman_service_alive == 0", "pointsman_service_alive is not served"},
		{rulesPath, "by (job, instance, reason) (rate", "by (job, instance, cause) (rate", "by cause, and there is"},
		{rulesPath, "$labels.interface", "$labels.nic", "the label nic"},
		{rulesPath, `verdict="drop"`, `verdict="dropped"`, `verdict of pointsman_packets_total is never "dropped"`},
		{rulesPath, `verdict="drop"`, `outcome="drop"`, "pointsman_packets_total has no label outcome"},
		{rulesPath, "down|unresolved", "down|lost", `is never "lost"`},
		{rulesPath, "increase(pointsman_map_errors_total", "increase(pointsman_generation", "a rate of what is no counter"},
		{rulesPath, "pointsman_convergence_duration_seconds_bucket", "pointsman_convergence_duration_seconds", "is not served"},
		{rulesPath, "pointsman_nat_connections_capacity >", "pointsman_service_up >", "never matches"},
		{rulesPath, "(pointsman_build_info)", "(pointsman_build_info", "PointsmanVersionsDiffer"},
		{dashboardPath, "pointsman_service_bytes_total", "pointsman_service_octets_total", "pointsman_service_octets_total is not served"},
		{dashboardPath, "{{service}} {{backend}}", "{{service}} {{server}}", "the label server"},
		{dashboardPath, `"graphMode"`, `"graphKind"`, "unexpected field 'graphKind'"},
		{dashboardPath, `"type": "stat"`, `"type": "status"`, "a panel of type status"},
		{dashboardPath, "label_values(pointsman_build_info, job)", "label_values(pointsman_info, job)", "variable job: pointsman_info is not served"},
	} {
		text := read(t, row.file)
		spoilt := strings.ReplaceAll(text, row.from, row.to)
		path := filepath.Join(t.TempDir(), filepath.Base(row.file))
		if err := os.WriteFile(path, []byte(spoilt), 0o644); err != nil || spoilt == text {
			t.Fatalf("%s has no %s, %v", row.file, row.from, err)
		}
		if problems := examine(path); !strings.Contains(problems, row.problem) {
			t.Errorf("with %q instead of %q it says nothing of %q:\n%s", row.to, row.from, row.problem, problems)
		}
	}
}

// alerts are the names of all alerts.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	for _, match := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(read(t, rulesPath), -1) {
		names = append(names, match[1])
	}
	return names
}

func TestEveryAlertIsSeenToFireAndHasWordsOnWhatToDo(t *testing.T) {
	text, tests := read(t, "docs/alerts.md"), read(t, ruleTestsPath)
	for _, name := range alerts(t) {
		if !strings.Contains(tests, `alertname="`+name+`"`) {
			t.Errorf("%s has no test of %s", ruleTestsPath, name)
		}
		if !strings.Contains(text, "\n### "+name+"\n\n") {
			t.Errorf("docs/alerts.md does not say what to do about %s", name)
		}
	}
	for _, section := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(alerts(t), section[1]) {
			t.Errorf("docs/alerts.md has %s, and there is no such alert", section[1])
		}
	}
}

func TestPrometheusAcceptsTheAlertsAndTheirTests(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not here: apt-get install prometheus")
	}
	for _, args := range [][]string{{"check", "rules", "../" + rulesPath}, {"test", "rules", "../" + ruleTestsPath}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
