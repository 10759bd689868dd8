package stories

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// TestPrivilegedKillingTheDaemonAtAnyMomentLosesNothing kills it at random moments
// of its start and of the changes that it makes, and of switching to larger maps.
// POINTSMAN_KILLS is how often.
func TestPrivilegedKillingTheDaemonAtAnyMomentLosesNothing(t *testing.T) {
	kills := 40
	if text := os.Getenv("POINTSMAN_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	weight := [3]int{1, 2, 1}
	backends := 1000
	file := func() string {
		return fmt.Sprintf(`limits { backends = %d }
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp", "192.0.2.1:7000/tcp"]
  backend "{{v4 1}}" { weight = %d }
  backend "{{v6 2}}" { weight = %d }
  backend "{{v4 3}}" { weight = %d }
}`, backends, weight[0], weight[1], weight[2])
	}
	s.begin(file())
	asking := s.keepAsking(webVIPs...)
	for kill := range kills {
		weight[random.IntN(3)] = random.IntN(4)
		weight[kill%3] = max(weight[kill%3], 1) // somebody takes new flows
		if random.IntN(4) == 0 {
			backends++
		}
		s.configure(file())
		if random.IntN(2) == 0 {
			_ = s.Reload() // before it listens for the signal, that ends it, too
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // the moment is what the story is about
		s.Daemon.Kill()
		s.must(s.Start())
		time.Sleep(time.Duration(random.IntN(250)) * time.Millisecond)
	}
	weight = [3]int{1, 2, 1}
	s.Daemon.Kill()
	s.configure(file())
	s.must(s.Start())
	now, err := s.AwaitReady(t.Context())
	s.must(err)
	s.spread(webVIPs[0], weights{"backend-1": 1, "backend-2": 2, "backend-3": 1})
	for _, missing := range []string{"DROP_NO_BACKEND", "DROP_NO_EGRESS"} {
		if n := now.Outcomes[missing]; n > 0 {
			t.Errorf("%d packets met %s", n, missing)
		}
	}
	s.nothingLost(asking.finish())
}
