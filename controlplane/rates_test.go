package controlplane

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

func TestRatesAreOfTheTimeBetweenTwoLooks(t *testing.T) {
	of := rated{"web", dataplane.ID{Addr: netip.MustParseAddr("10.20.0.11")}}
	look := func(n uint64) counted {
		traffic := api.Traffic{Packets: 10 * n, Bytes: 1000 * n, NewFlows: n}
		return counted{services: map[string]api.Traffic{"web": traffic}, backends: map[rated]api.Traffic{of: traffic}}
	}
	var r rates
	none := api.Rates{}
	for _, row := range []struct {
		promise string
		after   time.Duration
		n       uint64
		want    api.Rates
	}{
		{"one look tells nothing", 0, 100, none},
		{"the second what has come since", 5 * time.Second, 200, api.Rates{NewFlows: 20, Packets: 200, Bits: 160000}},
		{"later ones count from the last", 15 * time.Second, 300, api.Rates{NewFlows: 10, Packets: 100, Bits: 80000}},
		{"counters that begin anew tell nothing", 20 * time.Second, 5, none},
		{"but from then on", 25 * time.Second, 10, api.Rates{NewFlows: 1, Packets: 10, Bits: 8000}},
	} {
		r.add(dawn.Add(row.after), look(row.n))
		if s, b := r.service("web"), r.backend(of.service, of.backend); s != row.want || b != row.want {
			t.Errorf("%s: got %+v and %+v, want %+v", row.promise, s, b, row.want)
		}
	}
}

func TestRatesAreRememberedForTenMinutesAndOfWhatIsThere(t *testing.T) {
	var r rates
	for i := range 300 {
		now := counted{services: map[string]api.Traffic{"web": {Packets: uint64(50 * i)}}}
		if i == 299 {
			now.services["dns"] = api.Traffic{Packets: 1 << 40} // new to us, and not new
		}
		if i < 200 {
			now.services["old"] = api.Traffic{}
		}
		r.add(dawn.Add(time.Duration(i)*5*time.Second), now)
	}
	if _, still := r.history["old"]; still || len(r.times) != mostSamples || len(r.history["web"]) != mostSamples || len(r.history["dns"]) != mostSamples {
		t.Errorf("%d times, %d of web, %d of dns", len(r.times), len(r.history["web"]), len(r.history["dns"]))
	}
	if first := r.history["web"][0]; first.Packets != 10 || r.service("dns") != (api.Rates{}) {
		t.Errorf("the first of web is %+v, that of dns is %+v", first, r.service("dns"))
	}
}

// stalled is a data plane whose counters come late, because others have the CPU.
type stalled struct{ DataPlane }

func (p stalled) Counters() (dataplane.Counters, error) {
	time.Sleep(time.Second) // of the bubble that scrape makes: it takes no time
	return p.DataPlane.Counters()
}

func TestRatesComeAsOftenWhereOthersHaveTheCPU(t *testing.T) {
	scrape(t, func(s scraped) {
		s.see(bothServe)
		s.daemon.traffic.plane = &serial{dp: stalled{s.plane}}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.daemon.measureRates(ctx); err != nil {
			t.Error(err)
		}
		if looks := len(s.daemon.rates.times); looks < 8 {
			t.Errorf("%d looks in a minute", looks)
		}
	})
}
