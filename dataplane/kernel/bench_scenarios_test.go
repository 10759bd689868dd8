package kernel

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/pointsman/pointsman/dataplane"
)

// scenario is what packets find, and what is sent.
type scenario struct {
	name     string
	empty    string // which of the programs that do nothing; "" is the shipped one
	world    string // what the maps hold: see benchWorlds
	flow     flow
	flowBits int
	cpus     int    // at once; 0 is one
	outcome  string // of every packet
	inserts  bool   // every packet is remembered
	before   func(*benchWorld)
	beside   func(*benchWorld) (stop func()) // what goes on at the same time
	step     string                          // of bpf/steps.bpf.c; "" is the shipped program
	against  string                          // the scenario of the empty program to compare with
	nat      *natMix                         // its service's; nil is another mode
	reply    bool                            // from a backend of nat
}

const (
	emptyTX       = "empty-tx"
	emptyPass     = "empty-pass"
	emptyBothCPUs = "empty-tx-both-cpus"
)

var (
	segment4  = flow{protocol: dataplane.TCP, ack: true}
	segment6  = flow{protocol: dataplane.TCP, ack: true, v6: true}
	syn4      = flow{protocol: dataplane.TCP}
	datagram4 = flow{protocol: dataplane.UDP}
)

// at is the flow to another port of the VIP.
func (f flow) at(port uint16) flow {
	f.port = port
	return f
}

// from is the flow from another port of the client.
func (f flow) from(port uint16) flow {
	f.client = port
	return f
}

// spread is the flow to many addresses.
func (f flow) spread(to scattered) flow {
	f.to = to
	return f
}

func scenarios() []scenario {
	all := []scenario{
		{name: emptyTX, empty: "tx", flow: segment4},
		{name: emptyPass, empty: "pass", flow: segment4},
		{name: emptyNAT, empty: "tx", flow: segment4, nat: &benchMixes[0]},
		{name: emptyBothCPUs, empty: "tx", flow: segment4, cpus: 2},
	}
	all = append(all, settledScenarios()...)
	all = append(all, passScenarios()...)
	all = append(all, unsettledScenarios()...)
	all = append(all, sizeScenarios()...)
	all = append(all, wideScenarios()...)
	all = append(all, natScenarios()...)
	all = append(all, stepScenarios()...)
	all = append(all, scenario{
		name: "established-tcp4-ipip-512k-slots-rewritten", world: "settled", flow: segment4.at(portOf(dataplane.IPIP)),
		flowBits: 19, outcome: "FORWARD", against: emptyTX, beside: (*benchWorld).rewriteSlots,
	})
	return append(all, scenario{
		name: "established-tcp4-ipip-16M-both-cpus", world: "settled", flow: segment4.at(portOf(dataplane.IPIP)),
		flowBits: 24, cpus: 2, outcome: "FORWARD", against: emptyBothCPUs,
	})
}

var flowCounts = []struct {
	name string
	bits int
}{{"1", 0}, {"16k", 14}, {"512k", 19}, {"16M", 24}}

// portOf is where the world "settled" has the service of a mode.
func portOf(forward dataplane.Forward) uint16 { return 80 + uint16(forward) }

// IPv4 travels in IPv4 and IPv6 in IPv6.
func settledScenarios() (all []scenario) {
	for _, forward := range []dataplane.Forward{dataplane.IPIP, dataplane.GUE, dataplane.L2} {
		for _, v6 := range []bool{false, true} {
			family := "4"
			if v6 {
				family = "6"
			}
			for _, packet := range []struct {
				name string
				flow flow
			}{
				{"established-tcp", flow{protocol: dataplane.TCP, ack: true}},
				{"syn-tcp", flow{protocol: dataplane.TCP}},
				{"udp", flow{protocol: dataplane.UDP}},
			} {
				for _, count := range flowCounts {
					f := packet.flow.at(portOf(forward))
					f.v6 = v6
					all = append(all, scenario{
						name:  fmt.Sprintf("%s%s-%s-%s", packet.name, family, forward, count.name),
						world: "settled", flow: f, flowBits: count.bits, outcome: "FORWARD", against: emptyTX,
					})
				}
			}
		}
	}
	return all
}

func passScenarios() []scenario {
	return []scenario{
		{name: "pass-notvip", world: "settled", flow: segment4.at(7), flowBits: 24, outcome: "PASS_NOT_VIP", against: emptyPass},
		{name: "pass-notvip6", world: "settled", flow: segment6.at(7), flowBits: 24, outcome: "PASS_NOT_VIP", against: emptyPass},
		{name: "drop-nobackend", world: "dead", flow: segment4, flowBits: 20, outcome: "DROP_NO_BACKEND", against: emptyPass,
			before: (*benchWorld).ignoreDrops},
		{name: "drop-nobackend-watched", world: "dead", flow: segment4, flowBits: 20, outcome: "DROP_NO_BACKEND", against: emptyPass,
			before: (*benchWorld).watchDrops},
	}
}

// A million flows are remembered while these run. The fallback of a slot is another
// backend than its owner, so that the program has a second to note.
func unsettledScenarios() []scenario {
	all := []scenario{
		{name: "moving-hit-1M", flow: segment4, before: (*benchWorld).rememberMillion},
		{name: "moving-miss-1M", flow: segment4.from(50000), before: (*benchWorld).rememberMillion},
		{name: "moving-insert-1M", flow: syn4.from(50000), before: (*benchWorld).rememberMillion, inserts: true},
		{name: "learning-hit-1M", flow: datagram4, before: (*benchWorld).rememberMillion},
		{name: "learning-insert-1M", flow: datagram4.from(50000), before: (*benchWorld).rememberMillion, inserts: true},
		{name: "always-hit-1M", flow: segment4, before: (*benchWorld).rememberMillion},
		{name: "always-insert-1M", flow: syn4.from(50000), before: (*benchWorld).rememberMillion, inserts: true},
	}
	for i := range all {
		s := &all[i]
		s.world, _, _ = strings.Cut(s.name, "-")
		s.flowBits, s.outcome, s.against = millionBits, "FORWARD", emptyTX
	}
	return all
}

// How many there are of them: beyond what caches hold.
var (
	vipCounts     = []int{1, 100, 10_000}
	backendCounts = []int{10, 1000, 10_000}
	serviceCounts = []int{1, 8, 64}
)

// VIPs are consecutive addresses.
func sizeScenarios() (all []scenario) {
	for _, kind := range []struct {
		name   string
		counts []int
		spread bool // over a VIP each, as far as they are a power of two
	}{{"vips", vipCounts, true}, {"backends", backendCounts, false}, {"services", serviceCounts, true}} {
		for _, count := range kind.counts {
			s := scenario{name: fmt.Sprintf("%s-%d", kind.name, count), flow: segment4, flowBits: 19, outcome: "FORWARD", against: emptyTX}
			if s.world = s.name; kind.spread {
				s.flow = s.flow.spread(scattered{manyVIPs, 1<<(bits.Len(uint(count))-1) - 1})
			}
			all = append(all, s)
		}
	}
	most := all[len(all)-1]
	most.name, most.step, most.outcome = "step-"+most.name+"-slot-of-16-bits", "all-slot-of-16-bits", ""
	return append(all, most)
}

// Wide VIPs are every other /28 of a range of addresses, so that a packet to one of
// the others has the longest way to nothing.
func wideScenarios() (all []scenario) {
	for _, count := range []int{1, 128, 8192} {
		hosts := uint32(count*32 - 1)
		for _, row := range []struct {
			name    string
			flow    flow
			outcome string
			against string
		}{
			{"exact", segment4, "FORWARD", emptyTX},
			{"inside", segment4.at(7).spread(scattered{wideVIPs, hosts &^ 16}), "FORWARD", emptyTX},
			{"pass-far", segment4.at(7).spread(scattered{198<<24 | 18<<16, hosts}), "PASS_NOT_VIP", emptyPass},
			{"pass-between", segment4.at(7).spread(scattered{wideVIPs | 16, hosts &^ 16}), "PASS_NOT_VIP", emptyPass},
		} {
			all = append(all, scenario{
				name: fmt.Sprintf("wide-%d-%s", count, row.name), world: fmt.Sprintf("wide-%d", count),
				flow: row.flow, flowBits: 20, outcome: row.outcome, against: row.against,
			})
		}
	}
	return all
}
