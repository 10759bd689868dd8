package controlplane

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// benchmarks of the loop, with 1,000 services of 100 backends and tables in memory:
// from an answer of Consul in the inbox to the last step written.

const crowdServices, crowdBackends = 1000, 100

// crowd is a stage with so many services.
type crowd struct {
	*stage
	services, backends int
	file               []byte
}

func newCrowd(b *testing.B, services, backends int) *crowd {
	b.Helper()
	c := &crowd{stage: newStage(b), services: services, backends: backends}
	limits := dataplane.Limits{Services: 2048, VIPs: 2048, Backends: uint32(2*services*backends) + 1}
	c.plane = fake.New(limits, uint32(services)*1024)
	c.plane.AddInterface("eth0", fake.Interface{Index: 2})
	var file strings.Builder
	file.WriteString("interfaces = [\"eth0\"]\nvip_pools = [\"192.0.0.0/16\"]\nconsul {}\n" +
		"limits {\n services = 2048\n vips = 2048\n backends = 1000000\n slots = 4000000\n}\n")
	for i := range services {
		fmt.Fprintf(&file, "service %q {\n listen = [\"192.0.%d.%d:443/tcp\"]\n slots = 1021\n consul {}\n}\n", c.name(i), i/250, i%250)
	}
	c.file = []byte(file.String())
	c.begin(b)
	return c
}

// begin starts a daemon that is told of everybody at once.
func (c *crowd) begin(b *testing.B) {
	b.Helper()
	c.raise(c.file)
	for i := range c.services {
		c.answer(i, nil)
	}
	c.turn()
	if up := c.daemon.report.Services[0].Up; up != c.backends {
		b.Fatalf("%d of %d backends are up: %v", up, c.backends, c.daemon.problems)
	}
}

func (c *crowd) name(i int) string { return fmt.Sprintf("service-%04d", i) }

// answer puts Consul's answer about a service into the inbox.
func (c *crowd) answer(i int, ill map[int]bool) {
	now := time.Now()
	view := consul.View{Service: c.watch(c.name(i)), At: now, Answered: now, Changed: true}
	for j := range c.backends {
		status := consul.Passing
		if ill[j] {
			status = consul.Critical
		}
		view.Instances = append(view.Instances, consul.Instance{
			Node: "n", ID: fmt.Sprint(j), Port: 443, Status: status, WeightPassing: 1, WeightWarning: 1,
			Addr: netip.AddrFrom4([4]byte{10, byte(i >> 6), byte(i<<2) + byte(j>>8), byte(j)}),
		})
	}
	c.daemon.inbox.viewed(view)
}

func (c *crowd) turn() {
	c.daemon.turn()
	c.log.take()
}

// written is how long it takes from here to the last step written. What the turn
// does after that, for who looks at it, comes on top for what arrives meanwhile.
func (c *crowd) written() time.Duration {
	began := time.Now()
	c.turn()
	last := c.daemon.lastApply
	return last.at.Add(last.took).Sub(began)
}

// reportTimes says what half of them and nearly all are below.
func reportTimes(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for name, of := range map[string]int{"p50": 50, "p99": 99} {
		b.ReportMetric(float64(took[(len(took)-1)*of/100].Microseconds())/1000, name+"-ms")
	}
	b.ReportMetric(0, "ns/op")
}

func BenchmarkAnswer(b *testing.B) {
	b.Run("one backend of 100,000 turns critical and back", func(b *testing.B) {
		c := newCrowd(b, crowdServices, crowdBackends)
		var took []time.Duration
		for i := 0; b.Loop(); i++ {
			c.answer(i/2%c.services, map[int]bool{7: i%2 == 0})
			took = append(took, c.written())
		}
		reportTimes(b, took)
	})
	b.Run("one instance of 1,000 turns critical and back", func(b *testing.B) {
		c := newCrowd(b, 1, 1000)
		var took []time.Duration
		for i := 0; b.Loop(); i++ {
			c.answer(0, map[int]bool{7: i%2 == 0})
			took = append(took, c.written())
		}
		reportTimes(b, took)
	})
	b.Run("1,000 flips among 100,000, as fast as they are followed", func(b *testing.B) {
		c := newCrowd(b, crowdServices, crowdBackends)
		for b.Loop() {
			for i := range 1000 {
				c.answer(i, map[int]bool{i % 100: i%2 == 0})
				if i%10 == 9 { // what comes while the loop works is one look
					c.turn()
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/1000-flips")
		b.ReportMetric(0, "ns/op")
	})
}

func BenchmarkStart(b *testing.B) {
	b.Run("cold", func(b *testing.B) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var c *crowd
		for b.Loop() {
			c = newCrowd(b, crowdServices, crowdBackends)
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/start")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-with-tables")
		runtime.KeepAlive(c)
	})
	b.Run("again, over the tables of the one before", func(b *testing.B) {
		c := newCrowd(b, crowdServices, crowdBackends)
		for b.Loop() {
			c.plane = c.plane.Reopen()
			c.begin(b)
			if c.daemon.lastApply != nil {
				b.Fatalf("%d steps were taken", c.daemon.lastApply.steps)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/start")
	})
}
