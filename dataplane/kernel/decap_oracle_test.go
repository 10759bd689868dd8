package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
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

// decapCourt is where the programs of a backend and the oracle answer for the same
// frames.
type decapCourt struct {
	*decapBench
	t        *testing.T
	host     *oracle.Host
	expected map[string]uint64 // counters, by the oracle
}

func newDecapCourt(t *testing.T) *decapCourt {
	bench := newDecapBench(t)
	return &decapCourt{bench, t, mappedHost(), bench.counters(t)}
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
func (c *decapCourt) in(dice []byte) (frame []byte, outcome oracle.Outcome, err error) {
	frame, tunnelled := directly.Tunnelled(dice)
	outcome, inner := c.host.Receive(tunnelled)
	want := frame
	if outcome == oracle.Decapsulate {
		etherType := []byte{0x08, 0x00}
		if tunnelled.V6 {
			etherType = []byte{0x86, 0xdd}
		}
		want = append(append(bytes.Clone(frame[:12]), etherType...), inner...)
	}
	for _, program := range c.programs {
		if program.name == "tc" && !bytes.Equal(frame[12:14], want[12:14]) && decapLimit(decapTC) != "" {
			continue
		}
		c.expected[string(outcome)]++
		if err := program.differs(frame, outcome, want); err != nil {
			return frame, outcome, err
		}
	}
	return frame, outcome, nil
}

// out holds the way out against the oracle. What is not the VIP's is not counted.
func (c *decapCourt) out(dice []byte) (frame []byte, outcome oracle.Outcome, err error) {
	frame = directly.Leaving(dice)
	outcome, want := c.host.Send(frame)
	if outcome != oracle.PassNotOurVIP {
		c.expected[string(outcome)]++
	}
	program := decapProgram{"out", c.objs.PointsmanDecapOut, 1<<32 - 1, 2}
	return frame, outcome, program.differs(frame, outcome, want)
}

// sameCounters goes on from what the programs have counted, so that a difference is
// told once.
func (c *decapCourt) sameCounters() error {
	counted, expected := c.counters(c.t), c.expected
	c.expected = maps.Clone(counted)
	for name, n := range counted {
		if n != expected[name] {
			return fmt.Errorf("the programs have counted %s %d times, and the oracle %d", name, n, expected[name])
		}
	}
	return nil
}

// judge gives dice to both ways.
func (c *decapCourt) judge(dice []byte, seen func(oracle.Outcome)) error {
	for _, hold := range []func([]byte) ([]byte, oracle.Outcome, error){c.in, c.out} {
		frame, outcome, err := hold(dice)
		if err == nil && seen == nil { // closely
			err = c.sameCounters()
		}
		if err != nil {
			return fmt.Errorf("of the frame %x: %w", frame, err)
		}
		if seen != nil {
			seen(outcome)
		}
	}
	return nil
}

// uphold tells of the simplest dice about which they differ.
func (c *decapCourt) uphold(batch [][]byte, seen func(oracle.Outcome)) {
	c.t.Helper()
	var err error
	for _, dice := range batch {
		err = errors.Join(err, c.judge(dice, seen))
	}
	if err = errors.Join(err, c.sameCounters()); err == nil {
		return
	}
	c.t.Log(err)
	differ := func(dice []byte) bool {
		c.expected = c.counters(c.t)
		return c.judge(dice, nil) != nil
	}
	if at := slices.IndexFunc(batch, differ); at >= 0 {
		dice := wild.ShortenDirect(batch[at], differ)
		c.expected = c.counters(c.t)
		c.t.Fatalf("the dice %q: %v", dice, c.judge(dice, nil))
	}
	c.t.Fatal("none of these packets shows it alone")
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
	court, total, begun := newDecapCourt(t), make(census), time.Now()
	random := rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), seed)))
	batch := make([][]byte, 64) // the counters are read after so many
	for i := range batch {
		batch[i] = make([]byte, 160)
	}
	most, long := patience(t)
	for total.packets() < most/10 && time.Since(begun) < long/12 {
		for _, dice := range batch {
			random.Read(dice)
		}
		court.uphold(batch, func(outcome oracle.Outcome) { total[outcome]++ })
	}
	t.Logf("%d packets in %s: %v", total.packets(), time.Since(begun).Round(time.Second), total)
	for _, outcome := range []oracle.Outcome{
		oracle.Decapsulate, oracle.PassNotOurVIP, oracle.PassInnerSenseless, oracle.PassMappedBack,
		oracle.DropInnerLength, oracle.DropCongested, oracle.DropNotMapped, oracle.DropInnerUnreadable,
	} {
		if total[outcome] == 0 {
			t.Errorf("the packets prove little: none was %s", outcome)
		}
	}
}
