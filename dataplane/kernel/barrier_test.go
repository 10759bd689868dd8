package kernel

import (
	"net/netip"
	"runtime"
	"testing"

	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/dataplane"
)

// barriers counts the atomics on a program's own stack, which are nothing else.
func barriers(t *testing.T, plane *DataPlane) (count int) {
	t.Helper()
	info, err := plane.objects.PointsmanLb.Info()
	if err != nil {
		t.Fatal(err)
	}
	instructions, err := info.Instructions()
	if err != nil {
		t.Fatal(err)
	}
	for _, ins := range instructions {
		if ins.OpCode.Mode() == asm.AtomicMode && ins.OpCode.Class() == asm.StXClass && ins.Dst == asm.RFP {
			count++
		}
	}
	return count
}

// pretend has the machine be one whose loads may change places, or not.
func pretend(t *testing.T, weakly bool) {
	was := weaklyOrdered
	t.Cleanup(func() { weaklyOrdered = was })
	weaklyOrdered = weakly
}

func TestPrivilegedTheProgramHasBarriersOnlyWhereLoadsMayChangePlaces(t *testing.T) {
	if weaklyOrdered != (runtime.GOARCH != "amd64") {
		t.Errorf("loads of %s may change places: %v", runtime.GOARCH, weaklyOrdered)
	}
	pretend(t, false)
	if n := barriers(t, newHarness(t).plane); n != 0 {
		t.Errorf("where they do not, %d barriers are carried out", n)
	}
}

func TestPrivilegedAConnectionWorksWithBarriersToo(t *testing.T) {
	pretend(t, true)
	s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(backend4))
	if barriers(t, s.plane) == 0 {
		t.Error("there are none")
	}
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
		p := talk{from: netip.AddrPortFrom(client4, 40000), to: netip.AddrPortFrom(vip4, 80), protocol: protocol}
		if protocol == dataplane.TCP {
			p.flags, p.ack = "A", 5001
		}
		pieces := piecesOf(t, s, p)
		pieces.become(t, "backend 1", pieces.request, pieces.requestGone, 0, 1, 2)
		pieces.become(t, "REPLY_BACKEND", pieces.reply, pieces.replyHas, 0, 1, 2)
	}
}
