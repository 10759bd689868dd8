package dataplane_test

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	. "github.com/pointsman/pointsman/dataplane"
)

// What is foreseen is what then happens to flows that nobody remembers, drawn at
// random and hashed as the program does.
func TestWhatIsForeseenIsWhatHappens(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("repeat with seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	hash := NewHash(seed)
	pool := func(n int) (all []Backend) {
		for i := range n {
			all = append(all, Backend{
				ID: ID{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}, Weight: uint16(1 + random.IntN(3)), Forward: IPIP,
				Hop: Hop{Interface: 2, MTU: 1500, Source: netip.MustParseAddr("10.9.9.9")},
			})
		}
		return all
	}
	vip := VIP{Addr: netip.MustParseAddr("192.0.2.1"), Port: 80, Protocol: TCP}
	service := func(slots uint32, backends []Backend) State {
		return State{Services: []Service{{Name: "web", VIPs: []VIP{vip}, Slots: slots, Backends: backends}}}
	}
	for range 30 {
		have := NewTables(Limits{Services: 4, VIPs: 4, Backends: 64}, 8192)
		primes := []uint32{251, 509, 1021, 2039}
		before := service(primes[random.IntN(4)], pool(1+random.IntN(6)))
		after := service(primes[random.IntN(4)], pool(1+random.IntN(6)))
		steps, _ := Diff(have, before)
		for _, step := range steps {
			step.Replay(have)
		}
		steps, problems := Diff(have, after)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		foreseen := Foresee(have, steps)["web"]
		const flows = 20000
		clients, first := make([]netip.AddrPort, flows), make([]ID, flows)
		at := func(client netip.AddrPort) ID {
			return have.Backends[have.Slots[hash.Slot(client, vip, have.VIPs[vip])]].ID
		}
		for i := range clients {
			clients[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(random.Uint32()), byte(random.Uint32())}), uint16(random.Uint32()))
			first[i] = at(clients[i])
		}
		for _, step := range steps {
			step.Replay(have)
		}
		moved := 0
		for i := range clients {
			if at(clients[i]) != first[i] {
				moved++
			}
		}
		share := float64(moved) / flows
		if deviation := math.Sqrt(foreseen * (1 - foreseen) / flows); math.Abs(share-foreseen) > 6*deviation {
			t.Errorf("%.4f of the flows moved and %.4f was foreseen, from %d to %d slots and from %d to %d backends", share, foreseen,
				before.Services[0].Slots, after.Services[0].Slots, len(before.Services[0].Backends), len(after.Services[0].Backends))
		}
	}
}
