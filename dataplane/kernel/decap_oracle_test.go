package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// mappedHost is the oracle's host with the ports that the tests of decap map.
func mappedHost() *oracle.Host {
	h := &oracle.Host{
		VIPs:   decapVIPs,
		Mapped: []netip.Addr{mappedVIP4, mappedVIP6},
		In:     make(map[oracle.PortKey]uint16), Out: make(map[oracle.PortKey]uint16),
	}
	for _, port := range mappedPorts() {
		in := oracle.PortKey{VIP: port.VIP.Addr(), Protocol: uint8(port.Protocol), Port: port.VIP.Port()}
		if port.Named {
			in.Named = port.Local
		}
		h.In[in] = port.Local
		h.Out[oracle.PortKey{VIP: in.VIP, Protocol: in.Protocol, Port: port.Local}] = port.VIP.Port()
	}
	return h
}

var directly = wild.Direct{
	VIPs:      []netip.Addr{mappedVIP4, mappedVIP6, mappedVIP4, mappedVIP6, decapVIP4, decapVIP6, netip.MustParseAddr("192.0.2.30"), netip.MustParseAddr("2001:db8:10::30")},
	Ports:     []uint16{onlyVIPPort, onlyLocal, severalVIPPort, firstLocal, secondLocal, unmappedPort, 65535},
	Balancer4: decapBalancer4, Host4: decapBackend4, Balancer6: decapBalancer6, Host6: decapBackend6,
}

// differs says how a program's way with a frame differs from the oracle's.
func (p decapProgram) differs(frame []byte, outcome oracle.Outcome, want []byte) error {
	verdict, got, err := p.run.Test(frame)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	wanted := p.pass
	if strings.HasPrefix(string(outcome), "DROP_") {
		wanted = p.drop
	}
	if verdict != wanted {
		return fmt.Errorf("%s: the verdict is %d, and the oracle says %s", p.name, int32(verdict), outcome)
	}
	if verdict == p.pass && !bytes.Equal(got, want) {
		return fmt.Errorf("%s makes of it\n%x, and the oracle, for %s,\n%x", p.name, got, outcome, want)
	}
	return nil
}

// in holds the way in against the oracle, under both hooks.
func (b *decapBench) in(host *oracle.Host, dice []byte) (oracle.Outcome, error) {
	frame, tunnelled := directly.Tunnelled(dice)
	outcome, inner := host.Receive(tunnelled)
	want := frame
	if outcome == oracle.Decapsulate {
		etherType := []byte{0x08, 0x00}
		if tunnelled.V6 {
			etherType = []byte{0x86, 0xdd}
		}
		want = append(append(bytes.Clone(frame[:12]), etherType...), inner...)
	}
	for _, program := range b.programs {
		if program.name == "tc" && !bytes.Equal(frame[12:14], want[12:14]) && decapLimit(decapTC) != "" {
			continue
		}
		if err := program.differs(frame, outcome, want); err != nil {
			return outcome, fmt.Errorf("%x: %w", frame, err)
		}
	}
	return outcome, nil
}

// out holds the way out against the oracle.
func (b *decapBench) out(host *oracle.Host, dice []byte) (oracle.Outcome, error) {
	frame := directly.Leaving(dice)
	outcome, want := host.Send(frame)
	program := decapProgram{"out", b.objs.PointsmanDecapOut, 1<<32 - 1, 2}
	if err := program.differs(frame, outcome, want); err != nil {
		return outcome, fmt.Errorf("%x: %w", frame, err)
	}
	return outcome, nil
}

func TestPrivilegedDecapMapsEveryPacketAsTheOracleSays(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("repeat with SEED=%d", seed)
	bench, host := newDecapBench(t), mappedHost()
	random := rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), seed)))
	before, expected := bench.counters(t), make(map[string]uint64)
	dice, total, begun := make([]byte, 160), make(census), time.Now()
	most, long := patience(t)
	for total.packets() < most/10 && time.Since(begun) < long/12 {
		random.Read(dice)
		for way, hold := range []func(*oracle.Host, []byte) (oracle.Outcome, error){bench.in, bench.out} {
			outcome, err := hold(host, dice)
			if err != nil {
				t.Logf("%s of %q", []string{"in", "out"}[way], dice)
				t.Fatal(err)
			}
			total[outcome]++
		}
	}
	t.Logf("%d packets in %s: %v", total.packets(), time.Since(begun).Round(time.Second), total)
	for name, n := range bench.counters(t) {
		expected[name] = n - before[name]
	}
	if got, want := expected["PASS_MAPPED_BACK"], uint64(total[oracle.PassMappedBack]); got != want {
		t.Errorf("mapped back are %d by the counters, and %d by the oracle", got, want)
	}
	for _, outcome := range []oracle.Outcome{
		oracle.Decapsulate, oracle.PassNotOurVIP, oracle.PassInnerSenseless, oracle.PassMappedBack,
		oracle.DropInnerLength, oracle.DropCongested, oracle.DropNotMapped, oracle.DropInnerUnreadable,
	} {
		if total[outcome] == 0 {
			t.Errorf("the packets prove little: none was %s", outcome)
		}
	}
}
