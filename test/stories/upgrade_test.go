package stories

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
)

// TestPrivilegedAnUpgradeToOtherMapsInTheMidstOfAChangeLosesNothing begins with a
// build whose program and maps are others, lets a backend be added, and goes on
// with the one under test while slots are in motion and flows remembered.
func TestPrivilegedAnUpgradeToOtherMapsInTheMidstOfAChangeLosesNothing(t *testing.T) {
	for _, row := range []struct{ promise, before, after string }{
		{"with the flow table that there is", "", ""},
		{"with larger limits", "limits { flows = 4096 }\n", "limits {\n  flows = 1048576\n  backends = 4096\n}\n"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			s := open(t, lab.Options{Backends: 3}, 1, 2)
			var err error
			s.Runs, err = balancer.BuildEarlier(t.Context(), t.TempDir())
			s.must(err)
			another := strings.ReplaceAll(unprobed, "weight = 2 }", "weight = 2 }\n  backend \"{{v4 3}}\" {}")
			want := weights{"backend-1": 1, "backend-2": 2, "backend-3": 1}
			s.begin(row.before + unprobed)
			asking := s.keepAsking(webVIPs...)
			dns := s.keepAsking(allVIPs[:2]...)
			s.reload(row.before + another)
			asking.join() // some of them go to backend-3, and are remembered
			s.spread(webVIPs[0], want)

			s.Daemon.Kill()
			asking.join()
			s.Runs = ""
			s.configure(row.after + another)
			s.must(s.Start())
			now, err := s.AwaitReady(t.Context())
			s.must(err)
			if !strings.Contains(s.Log(), `"the maps of an earlier build are taken over","layout":1,"to":3,"lost":"nothing"`) {
				t.Error("nothing was taken over, or something was lost")
			}
			if now.Outcomes["FORWARD"] < 1000 {
				t.Errorf("counters began anew: %v", now.Outcomes)
			}
			for _, unsettled := range []string{"backend-1", "backend-2"} {
				if s.fallbacks("web")[unsettled] == 0 {
					t.Errorf("nothing falls back to %s any more", unsettled)
				}
			}
			asking.join()
			s.spread(webVIPs[1], want)
			s.nothingLost(asking.finish())
			s.nothingLost(dns.finish())
		})
	}
}
