package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// The first addresses of many VIPs, and of many wide ones.
const (
	manyVIPs = 100<<24 | 64<<16
	wideVIPs = 100<<24 | 96<<16
)

const benchSlots = 65537

// benchWorld is the program with maps of its own.
type benchWorld struct {
	*harness
	name    string
	options Options
	drops   dataplane.Drops                  // once somebody watches
	fill    []*ebpf.Program                  // what sends the flows that rememberMillion remembers
	answers map[dataplane.Protocol]*ebpf.Map // to connections of nat: see connect
}

// openWorld makes the world that a name tells of.
func openWorld(tb testing.TB, name string) *benchWorld {
	tb.Helper()
	needRoot(tb)
	kind, count := kindOf(name)
	switch kind {
	case "settled":
		return worldOf(tb, name, servicesOfModes(benchSlots)...)
	case "dead":
		return worldOf(tb, name, bigService("web", 0))
	case "moving", "learning":
		w := worldOf(tb, name, bigService("web", 10))
		w.unsettle(kind)
		return w
	case "always":
		service := bigService("web", 10)
		service.Tracking = dataplane.TrackAlways
		return worldOf(tb, name, service)
	case "vips":
		service := bigService("web", 10)
		service.VIPs = consecutiveVIPs(count)
		return worldOf(tb, name, service)
	case "services":
		return worldOf(tb, name, manyServices(count)...)
	case "backends":
		return worldOf(tb, name, bigService("web", count))
	case "wide":
		service := bigService("web", 10)
		service.VIPs = append(service.VIPs, everyOtherPrefix(count)...)
		return worldOf(tb, name, service)
	}
	if mix := natMixOf(kind); mix != nil {
		return worldOf(tb, name, natService(mix))
	}
	tb.Fatalf("there is no world %s", name)
	return nil
}

// kindOf takes the number off the name of a world: backends-1000 is one of backends.
func kindOf(name string) (kind string, count int) {
	kind, number, found := strings.Cut(name, "-")
	if !found {
		return kind, 0
	}
	count, _ = strconv.Atoi(number)
	return kind, count
}

func worldOf(tb testing.TB, name string, services ...dataplane.Service) *benchWorld {
	tb.Helper()
	dir := filepath.Join("/sys/fs/bpf", fmt.Sprintf("pointsman-bench-%d-%s", os.Getpid(), name))
	tb.Cleanup(func() {
		if _, err := Detach(dir); err != nil {
			tb.Error(err)
		}
	})
	limits := dataplane.Limits{Services: 128, VIPs: 1 << 14, Backends: 1 << 14}
	options := Options{PinDir: dir, Secret: 42, Limits: limits, Slots: uint32(len(services)) * (benchSlots + slotsPerLine), Flows: 4096}
	if _, remembers := remembered[name]; remembers {
		options.Flows = 2 << millionBits
	}
	if isNAT(services) {
		_, bits := kindOf(name)
		options.Connections = 2 << max(bits, 17)
	}
	plane, err := Open(options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { plane.Close() })
	w := &benchWorld{harness: harnessOn(tb, plane), name: name, options: options, answers: map[dataplane.Protocol]*ebpf.Map{}}
	w.want(services...)
	return w
}

// bigService has a whole table, and backends that IPIP reaches.
func bigService(name string, backends int) dataplane.Service {
	service := serviceOn(name, manyBackends(backends, false, dataplane.IPIP)...)
	service.Slots = benchSlots
	return service
}

func manyBackends(count int, v6 bool, forward dataplane.Forward) []dataplane.Backend {
	all := make([]dataplane.Backend, count)
	for i := range all {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if v6 {
			bytes := backend6.As16()
			bytes[14], bytes[15] = byte(i>>8), byte(i)
			addr = netip.AddrFrom16(bytes)
		}
		all[i] = backendTo(addr, forward, loopback)
	}
	return all
}

// servicesOfModes has a service for each mode and family.
func servicesOfModes(slots uint32) (all []dataplane.Service) {
	for _, forward := range []dataplane.Forward{dataplane.IPIP, dataplane.GUE, dataplane.L2} {
		for _, addr := range []netip.Addr{vip4, vip6} {
			service := dataplane.Service{
				Name: fmt.Sprintf("%s-%v", forward, addr.Is6()), Slots: slots,
				Backends: manyBackends(10, addr.Is6(), forward),
			}
			for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
				service.VIPs = append(service.VIPs, dataplane.VIP{Addr: addr, Port: portOf(forward), Protocol: protocol})
			}
			all = append(all, service)
		}
	}
	return all
}

func consecutiveVIPs(count int) []dataplane.VIP {
	all := make([]dataplane.VIP, count)
	for i := range all {
		all[i] = dataplane.VIP{Addr: addressOf(manyVIPs + uint32(i)), Port: 80, Protocol: dataplane.TCP}
	}
	return all
}

func addressOf(number uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, number)))
}

func manyServices(count int) []dataplane.Service {
	all := make([]dataplane.Service, count)
	for i, vip := range consecutiveVIPs(count) {
		all[i] = bigService(fmt.Sprintf("service-%03d", i), 100)
		all[i].VIPs = []dataplane.VIP{vip}
	}
	return all
}

func everyOtherPrefix(count int) []dataplane.VIP {
	all := make([]dataplane.VIP, count)
	for i := range all {
		all[i] = dataplane.VIP{Addr: addressOf(wideVIPs + uint32(i)*32), Protocol: dataplane.TCP}
		all[i].Wide = dataplane.Wide{HostBits: 4, LastPort: dataplane.LastOfAnyPort}
	}
	return all
}

// unsettle puts every slot into the phase, with another backend as its fallback.
func (w *benchWorld) unsettle(kind string) {
	for vip, entry := range w.tables.VIPs {
		entry.Unsettled = true
		w.apply(dataplane.PutVIP{VIP: vip, Entry: entry})
	}
	protocol, phase := dataplane.TCP, dataplane.Moving
	if kind == "learning" {
		protocol, phase = dataplane.UDP, dataplane.Learning
	}
	for slot, owner := range w.tables.Slots {
		if owner != dataplane.NoBackend {
			w.tables.Conditions.Put(uint32(slot), protocol, dataplane.Condition{Phase: phase, Fallback: owner%10 + 1})
		}
	}
}

// watchDrops lets the program believe that somebody watches.
func (w *benchWorld) watchDrops() { w.watch(true) }

func (w *benchWorld) ignoreDrops() { w.watch(false) }

func (w *benchWorld) watch(on bool) {
	if w.drops == nil {
		drops, err := w.plane.WatchDrops()
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { drops.Close() })
		w.drops = drops
	}
	if err := w.drops.Watch(on); err != nil {
		w.t.Fatal(err)
	}
}

// rewriteSlots stores the owner of each slot of each service a hundred times a
// second, as a change of all of them would, until it is stopped.
func (w *benchWorld) rewriteSlots() (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			for slot := range w.tables.Slots {
				owner := &w.tables.Slots[slot]
				atomic.StoreUint32(owner, atomic.LoadUint32(owner))
			}
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(over); <-done }
}

const millionBits = 20

// remembered are the packets of a flow after which a world's table remembers it for
// its idle timeout.
var remembered = map[string][]flow{"moving": {syn4, segment4}, "learning": {datagram4}, "always": {segment4}}

// rememberMillion empties the flow table and fills it with a million flows.
func (w *benchWorld) rememberMillion() {
	w.t.Helper()
	packets := remembered[w.name]
	if w.fill == nil {
		for _, f := range packets {
			w.fill = append(w.fill, flowDriver(w.t, w.plane.objects.PointsmanLb, millionBits, f))
		}
	}
	clear(w.plane.mapped.flows)
	for i, driver := range w.fill {
		if _, _, err := driver.Benchmark(packets[i].frame(), 1<<millionBits, nil); err != nil {
			w.t.Fatal(err)
		}
	}
}
