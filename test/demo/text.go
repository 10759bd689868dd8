package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// act says what comes next.
func act(format string, args ...any) { say("\n== "+format, args...) }

func indent(text string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		lines = append(lines, strings.TrimRight("  "+line, " "))
	}
	return strings.Join(lines, "\n")
}

func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func picture(l *lab.Lab) {
	say(`  client ── router ─┬─ balancer ── backend-4
                    └─ backend-1, backend-2, backend-3`)
	say("The router sends what is for a VIP to the balancer (%s, %s).", l.Balancer.Addr4, l.Balancer.Addr6)
	say("Answers go past the balancer, straight back to the client.")
}

func summarise(before traffic.Answers, failure outage, away traffic.Answers, recovery outage, after traffic.Answers) {
	row := func(what string, requests, lost int, measured string) {
		say("  %-28s %8d %8d  %s", what, requests, lost, measured)
	}
	latency := func(a traffic.Answers) string {
		return fmt.Sprintf("half answered within %.1f ms, 99 %% within %.1f ms", ms(a.Latency(0.5)), ms(a.Latency(0.99)))
	}
	say("  %-28s %8s %8s", "", "requests", "lost")
	row("all backends well", len(before), len(before.Failed()), latency(before))
	row(victim.name+" dies", failure.requests, failure.lost, "gone after "+milliseconds(failure.after))
	row(victim.name+" is away", len(away), len(away.Failed()), latency(away))
	row(victim.name+" comes back", recovery.requests, recovery.lost, "first answer after "+milliseconds(recovery.after))
	row("all backends well again", len(after), len(after.Failed()), latency(after))
	died, returned := failure.toll, recovery.toll
	say("  %d connections open: %d to %s broke when it died, %d of the others; %d when it came back.",
		connectionCount, died.victims, victim.name, died.others, returned.victims+returned.others)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
