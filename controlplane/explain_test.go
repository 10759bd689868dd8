package controlplane

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// explain is what an operator is told of a packet: PROTOCOL CLIENT TO.
func (s *stage) explain(words []string) string {
	to := netip.MustParseAddrPort(words[2])
	vip := dataplane.VIP{Addr: to.Addr(), Port: to.Port(), Protocol: dataplane.TCP}
	if words[0] == "udp" {
		vip.Protocol = dataplane.UDP
	}
	explained, err := s.daemon.Explain(netip.MustParseAddrPort(words[1]), vip)
	if err != nil {
		return "refused: " + err.Error() + "\n"
	}
	name := func(b *api.ExplainedBackend) string {
		if b == nil {
			return "nobody"
		}
		return b.Address + " " + b.State
	}
	text := fmt.Sprintf("%s of %s, %s\nslot %d of %d by %s, %s\nowner %s, fallback %s, remembered at %s\n", explained.VIP, explained.Service, explained.Forward,
		explained.Slot, explained.Slots, explained.SlotFrom, explained.Phase, name(explained.Owner), name(explained.Fallback), name(explained.Remembered))
	for _, p := range explained.Packets {
		text += fmt.Sprintf("%s: %s to %s, by %s\n", p.Kind, p.Outcome, name(p.Backend), p.Rule)
	}
	return text + strings.Join(explained.Notes, "\n")
}

func TestEveryRuleIsExplainedInWords(t *testing.T) {
	for _, why := range append([]dataplane.Why{dataplane.ByConnection, dataplane.ByNoConnection}, dataplane.Rules...) {
		if whyInWords[why] == "" {
			t.Errorf("nothing is said of %q", why)
		}
	}
}

// What the API still looks at when the daemon ends must not go from under it.
func TestTheTablesStayWhileSomebodyLooks(t *testing.T) {
	plane := &serial{dp: fake.New(dataplane.Limits{Services: 1, VIPs: 1, Backends: 2}, 1)}
	err := plane.Look(0, func(*dataplane.Tables, iter.Seq[dataplane.Connection]) error {
		if plane.mu.TryLock() {
			t.Error("they could be closed while somebody looks")
		}
		return nil
	})
	if err := errors.Join(err, plane.Close()); err != nil {
		t.Error(err)
	}
	if err := plane.Look(0, func(*dataplane.Tables, iter.Seq[dataplane.Connection]) error { return nil }); err == nil || !strings.Contains(err.Error(), "ending") {
		t.Errorf("afterwards: %v", err)
	}
}
