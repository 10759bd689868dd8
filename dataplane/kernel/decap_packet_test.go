package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// decapProgram is one of the two programs, with its codes for the same verdicts.
type decapProgram struct {
	name       string
	run        *ebpf.Program
	pass, drop uint32
}

type decapBench struct {
	spec     *ebpf.CollectionSpec
	objs     *decapObjects
	programs []decapProgram
}

func alone(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// decapVIPs are two addresses, two whose ports are mapped, and a prefix of either family.
var decapVIPs = []netip.Prefix{
	alone(decapVIP4), alone(decapVIP6), alone(mappedVIP4), alone(mappedVIP6), netip.MustParsePrefix("192.0.2.128/25"), netip.MustParsePrefix("2001:db8:10:1::/64"),
}

var decapTestOptions = DecapOptions{
	VIPs:  decapVIPs,
	From:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30"), netip.MustParsePrefix("fd00::/64")},
	Ports: mappedPorts(),
}

// newDecapBench loads the shipped programs for the test's VIPs and balancers.
func newDecapBench(t *testing.T) *decapBench {
	t.Helper()
	needRoot(t)
	spec, err := loadDecap()
	if err != nil {
		t.Fatal(err)
	}
	objs := new(decapObjects)
	if err := spec.LoadAndAssign(objs, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { objs.Close() })
	tables := decapTestOptions.tables()
	if err := errors.Join(tables.putPorts(objs), tables.putAddresses(objs)); err != nil {
		t.Fatal(err)
	}
	return &decapBench{spec, objs, []decapProgram{
		{"xdp", objs.PointsmanDecap, 2, 1},          // XDP_PASS, XDP_DROP
		{"tc", objs.PointsmanDecapTc, 1<<32 - 1, 2}, // TC_ACT_UNSPEC, TC_ACT_SHOT
	}}
}

// check runs a frame through both programs. want is the frame that comes out;
// nil stands for an unchanged one.
func (b *decapBench) check(t *testing.T, frame []byte, outcome string, want []byte) {
	t.Helper()
	if want == nil {
		want = frame
	}
	sameFamily := bytes.Equal(frame[12:14], want[12:14])
	for _, program := range b.programs {
		if program.name == "tc" && !sameFamily && decapLimit(decapTC) != "" {
			b.checkLimit(t, program, frame)
			continue
		}
		if program.name == "tc" && outcome == "PASS_OUTER_CUT_SHORT" {
			continue // the kernel does not test-run a socket buffer without a whole IP header
		}
		before := b.counters(t)
		program.check(t, frame, outcome, want, func() string { return b.moved(t, before) })
	}
}

func (p decapProgram) check(t *testing.T, frame []byte, outcome string, want []byte, moved func() string) {
	t.Helper()
	verdict, out, err := p.run.Test(frame)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	if moved := moved(); moved != outcome {
		t.Errorf("%s: counted %q, want %q", p.name, moved, outcome)
	}
	wantVerdict := p.pass
	if strings.HasPrefix(outcome, "DROP_") {
		wantVerdict = p.drop
	}
	if verdict != wantVerdict {
		t.Errorf("%s: verdict %d, want %d", p.name, int32(verdict), int32(wantVerdict))
	}
	if verdict == p.pass {
		noteCrossing(t, frame, out)
	}
	if !bytes.Equal(out, want) {
		t.Errorf("%s: got\n%x, want\n%x", p.name, out, want)
	}
}

// checkLimit checks that what this kernel cannot do is dropped by its name.
func (b *decapBench) checkLimit(t *testing.T, program decapProgram, frame []byte) {
	t.Helper()
	before := b.counters(t)
	verdict, _, err := program.run.Test(frame)
	if err != nil {
		t.Fatalf("%s: %v", program.name, err)
	}
	if moved := b.moved(t, before); moved != "DROP_CANNOT_STRIP" || verdict != program.drop {
		t.Errorf("%s, before Linux 6.3: counted %q, verdict %d", program.name, moved, int32(verdict))
	}
}

func (b *decapBench) counters(t *testing.T) map[string]uint64 {
	t.Helper()
	counters, err := readDecapCounters(b.spec, b.objs.DecapCounters)
	if err != nil {
		t.Fatal(err)
	}
	return counters
}

// moved names the counters that went up, with how far unless it is one.
func (b *decapBench) moved(t *testing.T, before map[string]uint64) string {
	t.Helper()
	var moved []string
	for name, n := range b.counters(t) {
		switch n - before[name] {
		case 0:
		case 1:
			moved = append(moved, name)
		default:
			moved = append(moved, fmt.Sprintf("%s by %d", name, n-before[name]))
		}
	}
	return strings.Join(moved, " and ")
}

// eachMix calls f for the mixes of inner and outer family, in IP and in GUE.
func eachMix(t *testing.T, f func(t *testing.T, m decapMix)) {
	for n := range 8 {
		m := decapMix{inner6: n&1 != 0, outer6: n&2 != 0, gue: n&4 != 0}
		t.Run(m.String(), func(t *testing.T) { f(t, m) })
	}
}

func TestPrivilegedDecapsulatesEveryMixOfFamilies(t *testing.T) {
	b := newDecapBench(t)
	eachMix(t, func(t *testing.T, m decapMix) {
		inner := m.inner(0xb8)
		b.check(t, m.frame(0, inner), "DECAPSULATE", decapFrame(inner))
	})
}

func TestPrivilegedDecapCarriesCongestionAsRFC6040Says(t *testing.T) {
	b := newDecapBench(t)
	const drop = 0xff
	// RFC 6040, figure 4: rows are the inner field, columns the outer one.
	rows := []struct {
		inner                    string
		ecn                      byte
		notECT, ect0, ect1, ceIn byte
	}{
		{"Not-ECT", decapNotECT, decapNotECT, decapNotECT, decapNotECT, drop},
		{"ECT(0)", decapECT0, decapECT0, decapECT0, decapECT1, decapCE},
		{"ECT(1)", decapECT1, decapECT1, decapECT1, decapECT1, decapCE},
		{"CE", decapCE, decapCE, decapCE, decapCE, decapCE},
	}
	const dscp = 46 << 2
	for _, row := range rows {
		columns := []struct {
			outer     string
			ecn, want byte
		}{
			{"Not-ECT", decapNotECT, row.notECT}, {"ECT(0)", decapECT0, row.ect0},
			{"ECT(1)", decapECT1, row.ect1}, {"CE", decapCE, row.ceIn},
		}
		for _, column := range columns {
			t.Run(row.inner+" in a tunnel packet with "+column.outer, func(t *testing.T) {
				eachMix(t, func(t *testing.T, m decapMix) {
					frame := m.frame(10<<2|column.ecn, m.inner(dscp|row.ecn))
					if column.want == drop {
						b.check(t, frame, "DROP_CONGESTED", nil)
						return
					}
					b.check(t, frame, "DECAPSULATE", decapFrame(m.inner(dscp|column.want)))
				})
			})
		}
	}
}

func TestPrivilegedDecapTrustsNoLength(t *testing.T) {
	b := newDecapBench(t)
	eachMix(t, func(t *testing.T, m decapMix) {
		frame := m.frame(0, m.inner(0))
		ipEnd, outerEnd, innerEnd := 14+20, m.headers(), m.headers()+20
		if m.outer6 {
			ipEnd += 20
		}
		if m.inner6 {
			innerEnd += 20
		}
		for n := 14; n < len(frame); n++ {
			outcome := "PASS_OUTER_SENSELESS"
			switch {
			case n < ipEnd:
				outcome = "PASS_OUTER_CUT_SHORT"
			case m.gue && n < ipEnd+8: // whose port cannot be read
				outcome = "PASS_NOT_TUNNEL"
			}
			b.check(t, frame[:n], outcome, nil)
		}
		for n := outerEnd; n < len(frame); n++ {
			outcome := "DROP_INNER_LENGTH"
			if n < innerEnd {
				outcome = "PASS_INNER_CUT_SHORT"
			}
			b.check(t, m.cut(frame, n), outcome, nil)
			// The rest is there, but as padding behind the tunnel packet.
			b.check(t, append(m.cut(frame, n), frame[n:]...), outcome, nil)
		}
	})
}

func TestPrivilegedDecapLeavesPaddingToTheHost(t *testing.T) {
	b := newDecapBench(t)
	eachMix(t, func(t *testing.T, m decapMix) {
		inner := m.inner(0)
		b.check(t, decapPadded(m.frame(0, inner), 18), "DECAPSULATE", decapPadded(decapFrame(inner), 18))
		longer := append(inner[:len(inner):len(inner)], 1, 2, 3)
		b.check(t, m.frame(0, longer), "DECAPSULATE", decapFrame(longer))
	})
}
