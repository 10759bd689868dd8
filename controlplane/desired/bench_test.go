package desired

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// BenchmarkMerge is what a change costs among 1,000 services of 100 backends.
func BenchmarkMerge(b *testing.B) {
	in := crowd()
	for _, row := range []struct {
		name  string
		heard map[string]bool
	}{{"all judged", nil}, {"one of them", map[string]bool{"s500": true}}} {
		b.Run(row.name, func(b *testing.B) {
			in.Decided, in.Before = Merge(in)
			in.Heard = row.heard
			b.ReportAllocs()
			for b.Loop() {
				Merge(in)
			}
			in.Heard = nil
		})
	}
}

func crowd() Input {
	in := Input{Now: noon, Views: map[string]View{}, Verdicts: map[Key]Verdict{}, Hops: map[netip.Addr]Hop{}}
	for n := range 1000 {
		name := fmt.Sprintf("s%03d", n)
		in.Services = append(in.Services, Service{Name: name, Forward: dataplane.IPIP, Slots: 65537,
			VIPs: []dataplane.VIP{vip(fmt.Sprintf("192.0.%d.%d:443", 2+n/250, n%250))}})
		view := View{Known: true}
		for i := range 100 {
			addr := netip.AddrFrom4([4]byte{10, byte(n / 250), byte(n % 250), byte(i)})
			view.Instances = append(view.Instances, consul(addr.String()))
			in.Hops[addr] = reachable
		}
		in.Views[name] = view
	}
	return in
}
