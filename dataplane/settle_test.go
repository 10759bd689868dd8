package dataplane_test

import (
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// drained is web and its VIP of a number, with a backend that drains since a
// second; both idle timeouts are ten seconds.
func drained(t *testing.T, vip int, second uint32) *Tables {
	t.Helper()
	short := func(s *Service) { s.IdleTCP, s.IdleUDP = 10, 10 }
	have := NewTables(roomy, 100)
	bring(t, have, State{Services: []Service{with(service("web", vip, 0, 1), short)}})
	web := with(service("web", vip, 0, 1), short)
	web.Backends[0].Weight = 0
	bring(t, have, State{Services: []Service{web}, Second: second})
	return have
}

func TestTimeSettlesWhatNoPacketNeeds(t *testing.T) {
	const tcp, udp = 0, 2
	for _, row := range []struct {
		promise string
		vip     int
		seconds []uint32 // at which Settle is called
		steps   string   // of the last
	}{
		{"a slot that moves has its idle timeout", tcp, []uint32{110}, ""},
		{"then it settles, and the mark stays", tcp, []uint32{111}, "phases web"},
		{"after another it is settled, and the mark goes after the phases", tcp, []uint32{111, 122}, "phases web, +vip"},
		{"what is settled is not looked at again", tcp, []uint32{111, 122, 300}, ""},
		{"a slot that learns has its idle timeout", udp, []uint32{110}, ""},
		{"then it settles like the other", udp, []uint32{111}, "phases web"},
		{"for another idle timeout", udp, []uint32{111, 121}, ""},
		{"after which it is settled", udp, []uint32{111, 122}, "phases web, +vip"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			have := drained(t, row.vip, 100)
			var steps []Step
			for _, second := range row.seconds {
				steps = Settle(have, second)
				have = replay(have, steps)
			}
			if got := kinds(steps); got != row.steps {
				t.Errorf("got %q, want %q", got, row.steps)
			}
		})
	}
}

func TestAPacketThatGoesElsewhereKeepsItsSlotAndTheMark(t *testing.T) {
	have := drained(t, 0, 100)
	slot := uint32(0)
	for have.Conditions.At(slot, TCP).Phase != Moving {
		slot++
	}
	noted := have.Conditions.At(slot, TCP)
	noted.Second = 105
	have.Conditions.Put(slot, TCP, noted)
	have = replay(have, Settle(have, 111))
	for other := range uint32(7) {
		if phase := have.Conditions.At(other, TCP).Phase; (phase == Moving) != (other == slot) {
			t.Errorf("slot %d is %s", other, phase)
		}
	}
	if !have.VIPs[vipNumber(0)].Unsettled {
		t.Error("nobody looks at the phases any more")
	}
}

func TestEachProtocolSettlesForItself(t *testing.T) {
	have := NewTables(roomy, 100)
	both := with(service("web", 0, 0, 1), func(s *Service) { s.VIPs = append(s.VIPs, vipNumber(2)) })
	bring(t, have, State{Services: []Service{both}})
	both.Backends = both.Backends[:1:1]
	both.Backends = append(both.Backends, backendNumber(5), backendNumber(6))
	bring(t, have, State{Services: []Service{both}})
	for range 2 {
		have = replay(have, Settle(have, 200))
	}
	have = replay(have, Settle(have, 300))
	if have.VIPs[vipNumber(2)].Unsettled || !have.VIPs[vipNumber(0)].Unsettled {
		t.Errorf("after five minutes the VIPs are %+v", have.VIPs)
	}
}

func TestAFallbackThatDiesIsNoFallback(t *testing.T) {
	have := drained(t, 0, 100)
	bring(t, have, State{Services: []Service{service("web", 0, 1)}, Second: 103})
	settling := 0
	for slot := range uint32(7) {
		switch c := have.Conditions.At(slot, TCP); c {
		case Condition{Phase: Settling, Second: 103}:
			settling++
		case Condition{}:
		default:
			t.Errorf("slot %d is %s %+v", slot, c.Phase, c)
		}
	}
	if settling == 0 {
		t.Error("no slot is settling")
	}
}

func TestDiffNeverTakesTheMarkAway(t *testing.T) {
	have := drained(t, 0, 100)
	bring(t, have, State{Services: []Service{never(service("web", 0, 0, 1))}, Second: 101})
	for slot := range uint32(7) {
		if c := have.Conditions.At(slot, TCP); c != (Condition{}) {
			t.Errorf("slot %d is %s", slot, c.Phase)
		}
	}
	if !have.VIPs[vipNumber(0)].Unsettled {
		t.Error("the mark is gone")
	}
	if got := kinds(Settle(have, 101)); got != "+vip" {
		t.Errorf("time brings %q", got)
	}
}

func TestAVIPThatSomeoneDeletedComesBackWithItsPhases(t *testing.T) {
	have := drained(t, 0, 100)
	intact := have.Clone()
	DeleteVIP{vipNumber(0)}.Replay(have)
	web := with(service("web", 0, 0, 1), func(s *Service) { s.IdleTCP, s.IdleUDP, s.Backends[0].Weight = 10, 10, 0 })
	steps, _ := Diff(have, State{Services: []Service{web}, Second: 102})
	if got := kinds(steps); got != "+vip" {
		t.Errorf("got %q", got)
	}
	if have = replay(have, steps); have.VIPs[vipNumber(0)] != intact.VIPs[vipNumber(0)] {
		t.Errorf("got %+v", have.VIPs[vipNumber(0)])
	}
}

func TestPhasesEndWhereNobodyNeedsThem(t *testing.T) {
	for _, row := range []struct {
		promise string
		meddle  func(*Tables)
		want    Service
	}{
		{"the last VIP of the protocol goes", nil, with(service("web", 0, 0, 1), func(s *Service) { s.VIPs = nil })},
		{"it leaves for another table", nil, with(service("web", 0, 0, 1), func(s *Service) { s.Slots = 13 })},
		{"flows are no more to be remembered", nil, never(service("web", 0, 0, 1))},
		{"and someone had deleted the VIP", DeleteVIP{vipNumber(0)}.Replay, never(service("web", 0, 0, 1))},
		{"the service goes", nil, service("api", 0, 0, 1)},
	} {
		have := drained(t, 0, 100)
		if row.meddle != nil {
			row.meddle(have)
		}
		bring(t, have, State{Services: []Service{row.want}, Second: 101})
		for slot := range uint32(len(have.Slots)) {
			if c := have.Conditions.At(slot, TCP); c != (Condition{}) {
				t.Errorf("%s: slot %d is %s", row.promise, slot, c.Phase)
			}
		}
	}
}

func TestSlotsSettleByTheLongestTimeoutOfTheirVIPs(t *testing.T) {
	have := drained(t, 0, 100)
	// A reload that shortens the timeout was cut short between two VIPs.
	other := have.VIPs[vipNumber(0)]
	other.IdleSeconds = 20
	have.VIPs[vipNumber(1)] = other
	if steps := Settle(have, 111); len(steps) > 0 {
		t.Errorf("flows of the other VIP may be silent for longer, and yet: %v", steps)
	}
	if steps := Settle(have, 121); kinds(steps) != "phases web" {
		t.Errorf("after the longer one: %v", steps)
	}
}
