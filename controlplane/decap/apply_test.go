package decap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stage is a fake host, a state file and options to go with them.
type stage struct {
	*fakeHost
	o      Options
	before Facts
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{fakeHost: newFakeHost(), o: options()}
	s.o.VIPs = vips("192.0.2.10", "2001:db8::10", "192.0.2.64/26")
	s.o.StateFile = filepath.Join(t.TempDir(), "state", "decap.json")
	s.facts.Sysctls["net/ipv4/conf/eth0/rp_filter"] = "1"
	s.facts.RoutesBy = []string{"eth0", "eth1"}
	s.before, _ = s.look(slices.Collect(maps.Keys(s.facts.Sysctls)))
	return s
}

func (s *stage) on(t *testing.T) Report {
	t.Helper()
	report, err := on(context.Background(), s.o, s.fakeHost, s.fakeHost)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (s *stage) off(t *testing.T) Report {
	t.Helper()
	o := Options{StateFile: s.o.StateFile}
	report, err := off(context.Background(), o, s.fakeHost, s.fakeHost)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// hasNoState checks that the state file went with the last change.
func (s *stage) hasNoState(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(s.o.StateFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state file is still there: %v", err)
	}
}

// actions are what a report did, as "made 192.0.2.10 on lo".
func actions(report Report) string {
	var done []string
	for _, d := range report.Done {
		done = append(done, string(d.Action)+" "+summary(d.Change))
	}
	return strings.Join(done, ", ")
}

func TestOffUndoesInReverse(t *testing.T) {
	s := newStage(t)
	if got := actions(s.on(t)); got != "made eth0/arp_ignore 0→1, made eth0/arp_announce 0→2, made eth0/rp_filter 1→2, made 192.0.2.10 on lo, made 2001:db8::10 on lo, made 192.0.2.64/26 to lo, made program on eth0" {
		t.Error(got)
	}
	if got := actions(s.off(t)); got != "undone program on eth0, undone 192.0.2.64/26 to lo, undone 192.0.2.10 on lo, undone 2001:db8::10 on lo, undone eth0/arp_ignore 0→1, undone eth0/arp_announce 0→2, undone eth0/rp_filter 1→2" {
		t.Error(got)
	}
	s.isAsBefore(t, s.before)
	s.hasNoState(t)
	if report := s.off(t); len(report.Warnings) != 1 || !strings.HasPrefix(report.Warnings[0], "nothing to undo") {
		t.Errorf("once more: %+v", report)
	}
}

func TestOnceMoreChangesNothing(t *testing.T) {
	s := newStage(t)
	s.on(t)
	after, _ := s.look(slices.Collect(maps.Keys(s.facts.Sysctls)))
	for _, d := range s.on(t).Done {
		if d.Action != Kept {
			t.Errorf("%s %s", d.Action, summary(d.Change))
		}
	}
	if !maps.Equal(after.Sysctls, s.facts.Sysctls) || !maps.EqualFunc(after.Addresses, s.facts.Addresses, slices.Equal) {
		t.Error("the host changed")
	}
	s.off(t)
	s.isAsBefore(t, s.before)
}

func TestOnWithOtherOptionsUndoesWhatIsNotWantedAnyMore(t *testing.T) {
	s := newStage(t)
	s.on(t)
	s.o.VIPs, s.o.NoProgram = vips("192.0.2.11"), true
	if got := actions(s.on(t)); got != "kept eth0/arp_ignore 0→1, kept eth0/arp_announce 0→2, kept eth0/rp_filter 1→2, made 192.0.2.11 on lo, undone program on eth0, undone 192.0.2.64/26 to lo, undone 192.0.2.10 on lo, undone 2001:db8::10 on lo" {
		t.Error(got)
	}
	s.off(t)
	s.isAsBefore(t, s.before)
}

func TestOffLeavesWhatIsNotOurs(t *testing.T) {
	vip, eth0Ignore := netip.MustParseAddr("192.0.2.10"), "net/ipv4/conf/eth0/arp_ignore"
	rows := []struct {
		name          string
		before, after func(*stage)
		warned        string
	}{
		{"a VIP that was on lo before", func(s *stage) { s.facts.Addresses[vip] = []string{"lo"} }, func(*stage) {}, ""},
		{"a sysctl that was right before", func(s *stage) { s.facts.Sysctls[eth0Ignore] = "2" }, func(*stage) {}, ""},
		{"a sysctl that somebody changed meanwhile", func(*stage) {}, func(s *stage) { s.facts.Sysctls[eth0Ignore] = "8" },
			eth0Ignore + " is 8 by now, neither what it was (0) nor what we set (1): left alone"},
		{"a sysctl that somebody put back", func(*stage) {}, func(s *stage) { s.facts.Sysctls[eth0Ignore] = "0" }, ""},
		{"an interface that is gone", func(*stage) {}, func(s *stage) { delete(s.facts.Sysctls, eth0Ignore) }, ""},
		{"a VIP that somebody removed", func(*stage) {}, func(s *stage) { delete(s.facts.Addresses, vip) }, ""},
		{"a program that somebody detached", func(*stage) {}, func(s *stage) { delete(s.programs, "eth0") }, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t)
			row.before(s)
			s.before, _ = s.look(slices.Collect(maps.Keys(s.facts.Sysctls)))
			s.on(t)
			row.after(s)
			report := s.off(t)
			if got := strings.Join(report.Warnings, "\n"); got != row.warned {
				t.Errorf("warned %q, want %q", got, row.warned)
			}
			if value, known := s.facts.Sysctls[eth0Ignore]; !known || value == "8" {
				delete(s.facts.Sysctls, eth0Ignore)
				delete(s.before.Sysctls, eth0Ignore)
			}
			s.isAsBefore(t, s.before)
			s.hasNoState(t)
		})
	}
}

func TestSysctlThatSomebodyChangedIsSetAgainByOn(t *testing.T) {
	s := newStage(t)
	s.on(t)
	s.facts.Sysctls["net/ipv4/conf/eth0/rp_filter"] = "1"
	delete(s.facts.Addresses, netip.MustParseAddr("192.0.2.10"))
	if got := actions(s.on(t)); got != "kept eth0/arp_ignore 0→1, kept eth0/arp_announce 0→2, made eth0/rp_filter 1→2, made 192.0.2.10 on lo, kept 2001:db8::10 on lo, kept 192.0.2.64/26 to lo, kept program on eth0" {
		t.Error(got)
	}
}

// Whatever step a run dies in, before its effect or right after it, Off finds
// the way back; and so does On and then Off.
func TestDyingAtAnyStepCanBeUndone(t *testing.T) {
	for step := 1; step <= 6; step++ {
		for _, halfWay := range []bool{false, true} {
			for _, onAgain := range []bool{false, true} {
				t.Run(fmt.Sprintf("step %d, its effect made: %v, on again: %v", step, halfWay, onAgain), func(t *testing.T) {
					s := newStage(t)
					s.breaks, s.halfWay = step, halfWay
					if _, err := on(context.Background(), s.o, s.fakeHost, s.fakeHost); !errors.Is(err, errBroken) {
						t.Fatal(err)
					}
					s.breaks = 0
					if onAgain {
						s.on(t)
					}
					s.off(t)
					s.isAsBefore(t, s.before)
					s.hasNoState(t)
				})
			}
		}
	}
}

func TestOffThatDiesAtAnyStepGoesOnNextTime(t *testing.T) {
	for step := 1; step <= 6; step++ {
		for _, halfWay := range []bool{false, true} {
			t.Run(fmt.Sprintf("step %d, its effect made: %v", step, halfWay), func(t *testing.T) {
				s := newStage(t)
				s.on(t)
				s.effects, s.breaks, s.halfWay = 0, step, halfWay
				if _, err := off(context.Background(), Options{StateFile: s.o.StateFile}, s.fakeHost, s.fakeHost); !errors.Is(err, errBroken) {
					t.Fatal(err)
				}
				s.breaks = 0
				s.off(t)
				s.isAsBefore(t, s.before)
				s.hasNoState(t)
			})
		}
	}
}

func TestInterfacesShareAVIP(t *testing.T) {
	s := newStage(t)
	s.on(t)
	s.o.Interface = "eth1"
	s.on(t)
	one := Options{StateFile: s.o.StateFile, Interface: "eth0"}
	report, err := off(context.Background(), one, s.fakeHost, s.fakeHost)
	if err != nil {
		t.Fatal(err)
	}
	if got := actions(report); got != "undone program on eth0, undone eth0/arp_ignore 0→1, undone eth0/arp_announce 0→2, undone eth0/rp_filter 1→2" {
		t.Error(got)
	}
	if !slices.Contains(s.facts.Addresses[netip.MustParseAddr("192.0.2.10")], "lo") {
		t.Error("the VIP went, though eth1 serves it")
	}
	s.off(t)
	s.isAsBefore(t, s.before)
	s.hasNoState(t)
}

func TestABootUndoesAll(t *testing.T) {
	s := newStage(t)
	s.on(t)
	s.fakeHost = newFakeHost()
	s.facts.BootID = "the next boot"
	if got := actions(s.on(t)); strings.Contains(got, "kept") {
		t.Error(got)
	}
	s.fakeHost = newFakeHost()
	s.facts.BootID = "the boot after that"
	if report := s.off(t); len(report.Done) != 0 {
		t.Error(actions(report))
	}
	s.hasNoState(t)
}

func TestStateErrorsStopBeforeTheHostIsTouched(t *testing.T) {
	rows := []struct {
		name, text, want string
	}{
		{"a state file that is cut short", `{"schema_version":`, "decap.json"},
		{"a state file of the future", `{"schema_version":9,"boot_id":"this boot"}`, "it is of version 9, not 1"},
		{"pins in another folder", `{"schema_version":1,"boot_id":"this boot","changes":[{"kind":"program","name":"eth0","after":"/elsewhere","for":["eth0"]}]}`,
			"the program on eth0 is pinned under /elsewhere, not /pins"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t)
			if err := os.MkdirAll(filepath.Dir(s.o.StateFile), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.o.StateFile, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := on(context.Background(), s.o, s.fakeHost, s.fakeHost)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v", err)
			}
			s.isAsBefore(t, s.before)
		})
	}
}

func TestTwoRunsAtOnceAreRefused(t *testing.T) {
	s := newStage(t)
	held, err := openStateFile(s.o.StateFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := on(context.Background(), s.o, s.fakeHost, s.fakeHost); err == nil || !strings.Contains(err.Error(), "another pointsman") {
		t.Errorf("%v", err)
	}
	held.close()
	s.on(t)
}

func TestACancelledRunChangesNothingMore(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := on(ctx, s.o, s.fakeHost, s.fakeHost); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s.isAsBefore(t, s.before)
}
