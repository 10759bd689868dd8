package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const reference = "../../docs/configuration.md"

var (
	row      = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]+ \\| [^|]+ \\| [^|]+ \\|$")
	codeform = regexp.MustCompile("(?s)```(hcl|json)\n(.*?)```")
)

func readReference(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheReferenceDescribesExactlyTheKeysThatExist(t *testing.T) {
	sections := map[string]string{}
	for _, section := range strings.Split(readReference(t), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		if title == "Top level" {
			title = ""
		}
		sections[title] = body
	}
	for _, path := range slices.Sorted(maps.Keys(schemas)) {
		var described []string
		for _, match := range row.FindAllStringSubmatch(sections[path], -1) {
			described = append(described, match[1])
		}
		known := schemas[path].names()
		slices.Sort(described)
		slices.Sort(known)
		if !slices.Equal(described, known) {
			t.Errorf("section %q describes %q, and the block knows %q", path, described, known)
		}
		delete(sections, path)
	}
	for title := range sections {
		t.Errorf("section %q describes no block", title)
	}
}

func TestTheExamplesOfTheReferenceAreConfigurations(t *testing.T) {
	examples := codeform.FindAllStringSubmatch(readReference(t), -1)
	if len(examples) != 2 {
		t.Fatalf("there are %d examples", len(examples))
	}
	for _, example := range examples {
		if _, err := Parse("example."+example[1], []byte(example[2])); err != nil {
			t.Error(err)
		}
	}
}

func TestTheReferenceGivesTheDefaultsOfTheProgram(t *testing.T) {
	f, err := Parse("a.hcl", []byte(`
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24"]
service "web" {
  listen = ["192.0.2.10:443/tcp"]
  backend "10.20.0.11" {}
  health "http" {}
}`))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Services[0]
	for want, holds := range map[string]bool{
		"| `state_dir` | path | `/var/lib/pointsman` |":                                       f.StateDir == "/var/lib/pointsman",
		"| `http_listen` | ADDRESS:PORT | `127.0.0.1:9731` |":                                 f.HTTPListen == "127.0.0.1:9731",
		"| `backend_metrics` | true or false | true |":                                        f.BackendMetrics,
		"| `services` | number | 1024 |":                                                      f.Limits.Services == 1024,
		"| `vips` | number | 4096 |":                                                          f.Limits.VIPs == 4096,
		"| `backends` | number | 16384 |":                                                     f.Limits.Backends == 16384,
		"| `slots` | number | 4194368 |":                                                      f.Limits.Slots == 4194368,
		"| `flows` | number, 8 or more | 1048576 |":                                           f.Limits.Flows == 1048576,
		"| `tracking` | `\"auto\"`, `\"always\"` or `\"never\"` | `\"auto\"` |":               s.Tracking == "auto",
		"| `affinity` | `\"flow\"`, `\"client\"` or `\"quic\"` | `\"flow\"` |":                s.Affinity == "flow",
		"| `offset` | number, 0 to 19 | 1 |":                                                  DefaultQUICOffset == 1,
		"| `idle_timeout` | duration, 1s to 8191s | 15m for TCP, 60s for UDP |":               s.IdleTimeout == 0 && MaxIdleTimeout.Seconds() == 8191,
		"| `drain_timeout` | duration, up to 168h | `\"10m\"` |":                              s.DrainTimeout.String() == "10m0s" && mostDrainTimeout.Hours() == 168,
		"| `slow_start` | duration, up to 1h | 0, at once |":                                  s.SlowStart == 0,
		"| `max_watches` | number | 150 |":                                                    DefaultMaxWatches == 150,
		"| `forward` | `\"ipip\"`, `\"gue\"`, `\"l2\"` or `\"nat\"` | `\"ipip\"` |":           s.Forward == "ipip",
		"| `connections` | number, 64 or more | 262144 |":                                     f.Limits.Connections == 262144,
		"| `nat_ports` | text | `\"1024-32767\"` |":                                           f.NAT.Ports.String() == "1024-32767",
		"| `handshake` | duration, 1s to 1m | `\"8s\"` |":                                     f.NAT.Timeouts.Handshake.Seconds() == 8,
		"| `established` | duration, 1m to 168h | `\"2h4m\"` |":                               f.NAT.Timeouts.Established.Minutes() == 124,
		"| `half_closed` | duration, 1s to 168h | `\"4m\"` |":                                 f.NAT.Timeouts.HalfClosed.Minutes() == 4,
		"| `time_wait` | duration, 1s to 10m | `\"1m\"` |":                                    f.NAT.Timeouts.TimeWait.Minutes() == 1,
		"| `udp_first` | duration, 1s to 168h | `\"30s\"` |":                                  f.NAT.Timeouts.UDPFirst.Seconds() == 30,
		"| `udp` | duration, 1s to 168h | `\"5m\"` |":                                         f.NAT.Timeouts.UDP.Minutes() == 5,
		"| `slots` | prime, 251 to 1000003 | 65537 |":                                         s.Slots == 65537 && leastSlots == 251 && mostSlots == 1000003,
		"| `panic_threshold` | share | 0, never |":                                            s.PanicThreshold == 0,
		"| `warning` | `\"use-weight\"`, `\"drop\"` or `\"as-passing\"` | `\"use-weight\"` |": DefaultWarning == "use-weight",
		"| `weight` | number, 0 to 256 | 1 |":                                                 s.Backends[0].Weight == 1,
		"| `interval` | duration, 100ms to 1h | `\"2s\"` |":                                   s.Health.Interval.String() == "2s",
		"| `timeout` | duration, 10ms or more | `\"1s\"`, or `interval` if that is less |":    s.Health.Timeout.String() == "1s",
		"| `rise` | number, 1 to 100 | 2 |":                                                   s.Health.Rise == 2,
		"| `fall` | number, 1 to 100 | 3 |":                                                   s.Health.Fall == 3,
		"| `jitter` | share, up to 0.5 | 0.1 |":                                               s.Health.Jitter == 0.1,
		"| `path` | text | `\"/\"` |":                                                         s.Health.Path == "/",
		"| `expect_status` | list of numbers and ranges | `[\"200-399\"]` |":                  slices.Equal(s.Health.ExpectStatus, []StatusRange{{200, 399}}),
	} {
		if !holds {
			t.Errorf("the program does not agree with %s", want)
		}
		if !strings.Contains(readReference(t), want) {
			t.Errorf("the reference lacks %s", want)
		}
	}
}
