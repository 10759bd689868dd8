package kernel

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// captured is a data plane on an interface, so that it can be captured.
func captured(t *testing.T) *harness {
	t.Helper()
	inNamespace(t)
	h := newHarness(t)
	if _, err := h.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *harness) capture(o CaptureOptions) *Capture {
	h.t.Helper()
	o.PinDir = h.plane.pins.dir
	if o.Snaplen == 0 {
		o.Snaplen = uint32(MaxSnaplen)
	}
	c, err := OpenCapture(o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return c
}

// pass runs the program itself: one that is tail called is not traced.
func (h *harness) pass(frame []byte) (verdict uint32, after []byte) {
	h.t.Helper()
	options := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	verdict, err := h.plane.objects.PointsmanLb.Run(&options)
	if err != nil {
		h.t.Fatal(err)
	}
	return verdict, options.DataOut
}

// seen is all that the capture has.
func seen(t *testing.T, c *Capture) (all []dataplane.Captured) {
	t.Helper()
	for {
		one, err := c.Read(time.Now())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		one.Frame = slices.Clone(one.Frame)
		all = append(all, one)
	}
}

func TestPrivilegedACaptureSeesPacketsBeforeAndAfterTheProgram(t *testing.T) {
	h := captured(t)
	egress, err := h.plane.pins.attached()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := backendTo(backend6, dataplane.IPIP, egress[0].ifindex)
	elsewhere.Hop.EgressMAC[5]++ // every interface has a MAC of its own
	dead := serviceOn("dead")
	dead.VIPs = []dataplane.VIP{{Addr: vip4, Port: 83, Protocol: dataplane.TCP}}
	there := serviceOn("there", elsewhere)
	there.VIPs = []dataplane.VIP{{Addr: vip6, Port: 80, Protocol: dataplane.TCP}}
	here := serviceOn("here", backendTo(backend4, dataplane.IPIP, loopback))
	here.VIPs = []dataplane.VIP{{Addr: vip4, Port: 80, Protocol: dataplane.TCP}}
	h.want(dead, there, here)
	c := h.capture(CaptureOptions{})

	for _, row := range []struct {
		promise string
		flow    flow
		outcome string
		verdict dataplane.Verdict
		leaves  uint32
	}{
		{"what goes back out is seen as it came and as it left", flow{protocol: dataplane.TCP}, "FORWARD", dataplane.Transmit, loopback},
		{"and what is redirected, with the interface that it left by", flow{protocol: dataplane.TCP, v6: true}, "FORWARD", dataplane.Redirect, egress[0].ifindex},
		{"what is passed is seen to arrive", flow{protocol: dataplane.TCP, port: 81}, "PASS_NOT_VIP", dataplane.Pass, loopback},
		{"and what is dropped, with the reason", flow{protocol: dataplane.TCP, port: 83}, "DROP_NO_BACKEND", dataplane.Drop, loopback},
	} {
		t.Run(row.promise, func(t *testing.T) {
			sent, began := row.flow.frame(), time.Now()
			verdict, left := h.pass(sent)
			got := seen(t, c)
			if len(got) != 2 || got[0].Gone || !got[1].Gone || got[0].Number != got[1].Number || got[0].CPU != got[1].CPU {
				t.Fatalf("seen are %+v, not one packet before and after", got)
			}
			before, after := got[0], got[1]
			if !bytes.Equal(before.Frame, sent) || before.Length != len(sent) || before.Interface != loopback {
				t.Errorf("before the program it is\n%x of %d bytes by %d, sent was\n%x", before.Frame, before.Length, before.Interface, sent)
			}
			if after.Outcome != row.outcome || after.Verdict != row.verdict || uint32(after.Verdict) != verdict {
				t.Errorf("it became %s, %s; the program says %d, want %s, %s", after.Outcome, after.Verdict, verdict, row.outcome, row.verdict)
			}
			want := left
			if !row.verdict.Leaves() {
				want = nil
			}
			if !bytes.Equal(after.Frame, want) || after.Length != len(left) || after.Interface != row.leaves {
				t.Errorf("after the program it is\n%x of %d bytes by %d, left has\n%x by %d", after.Frame, after.Length, after.Interface, want, row.leaves)
			}
			if early := began.Sub(before.At); early > 10*time.Millisecond || after.At.Before(before.At) || after.At.After(time.Now().Add(10*time.Millisecond)) {
				t.Errorf("it was seen at %v and %v, and was sent at %v", before.At, after.At, began)
			}
		})
	}
}

func TestPrivilegedACaptureWantsWhatItsFilterSays(t *testing.T) {
	h := captured(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	syn4, syn6 := flow{protocol: dataplane.TCP}, flow{protocol: dataplane.TCP, v6: true}
	for _, row := range []struct {
		vip, client string
		iface       uint32
		flow        flow
		wanted      bool
	}{
		{"", "", 0, syn4, true},
		{"192.0.2.10", "", 0, syn4, true},
		{"192.0.2.11", "", 0, syn4, false},
		{"192.0.2.0/24", "", 0, syn4, true},
		{"192.0.3.0/24", "", 0, syn4, false},
		{"192.0.2.10", "", 0, syn6, false},
		{"2001:db8:10::10", "", 0, syn6, true},
		{"2001:db8::/32", "", 0, syn6, true},
		{"2001:db8::/32", "", 0, syn4, false},
		{"192.0.2.10:80", "", 0, syn4, true},
		{"192.0.2.10:81", "", 0, syn4, false},
		{"192.0.2.10:80/tcp", "", 0, syn4, true},
		{"192.0.2.10:80/udp", "", 0, syn4, false},
		{"192.0.2.10:80/udp", "", 0, flow{protocol: dataplane.UDP, options: 8}, true},
		{"[2001:db8:10::10]:80/tcp", "", 0, syn6, true},
		{"[2001:db8:10::10]:81/tcp", "", 0, syn6, false},
		{"", "198.51.100.7", 0, syn4, true},
		{"", "198.51.100.8", 0, syn4, false},
		{"", "198.51.100.0/25", 0, syn4, true},
		{"192.0.2.10:80", "198.51.100.8", 0, syn4, false},
		{"", "2001:db8:7::7", 0, syn6, true},
		{"", "", loopback, syn4, true},
		{"", "", loopback + 1, syn4, false},
	} {
		filter, err := dataplane.ParsePacketFilter(row.vip, row.client)
		if err != nil {
			t.Fatal(err)
		}
		c := h.capture(CaptureOptions{Filter: filter, Interface: row.iface})
		h.pass(row.flow.frame())
		h.pass(tagged(tagged(row.flow.frame(), 0x8100), 0x88a8))
		want := 0
		if row.wanted {
			want = 4 // before and after, and the same behind two tags
		}
		if got := seen(t, c); len(got) != want {
			t.Errorf("--vip %q --client %q, interface %d: %d records of %+v, want %d", row.vip, row.client, row.iface, len(got), row.flow, want)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// tagged puts a tag behind the MACs.
func tagged(frame []byte, etherType uint16) []byte {
	return slices.Concat(frame[:12], []byte{byte(etherType >> 8), byte(etherType), 0, 7}, frame[12:])
}

func TestPrivilegedACaptureKeepsTheBeginningsOfFrames(t *testing.T) {
	h := captured(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	c := h.capture(CaptureOptions{Snaplen: 61})
	sent := flow{protocol: dataplane.TCP, size: 1000}.frame()
	_, left := h.pass(sent)
	got := seen(t, c)
	if len(got) != 2 || !bytes.Equal(got[0].Frame, sent[:61]) || got[0].Length != len(sent) {
		t.Fatalf("before the program are %+v, not the first 61 of %d bytes", got, len(sent))
	}
	if !bytes.Equal(got[1].Frame, left[:61]) || got[1].Length != len(left) {
		t.Errorf("after it is %+v, not the first 61 of %d bytes", got[1], len(left))
	}
}

func TestPrivilegedACaptureCountsWhatItLosesAndTheProgramLosesNothing(t *testing.T) {
	h := captured(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	c := h.capture(CaptureOptions{})
	frame := flow{protocol: dataplane.TCP, size: 1000}.frame()
	const packets = 20000 // of more bytes than a ring has
	before := h.counters()
	for range packets {
		if verdict, _ := h.pass(frame); verdict != xdpTX {
			t.Fatalf("the verdict is %d", verdict)
		}
	}
	after := h.counters()
	if moved := after["backend 1"] - before["backend 1"]; moved != packets {
		t.Errorf("%d of %d packets were forwarded", moved, packets)
	}
	got := uint64(len(seen(t, c)))
	lost, err := c.Lost()
	// Of a packet whose arrival is lost there is no second record.
	if err != nil || lost == 0 || got == 0 || got+lost < packets || got/2+lost > packets+1 {
		t.Errorf("%d records and %d lost are not those of %d packets: %v", got, lost, packets, err)
	}
}

func TestPrivilegedACaptureNoticesThatItsProgramIsReplaced(t *testing.T) {
	h := captured(t)
	c := h.capture(CaptureOptions{})
	if replaced, err := c.Replaced(); replaced || err != nil {
		t.Fatalf("replaced is %v at once: %v", replaced, err)
	}
	next := openTest(t, h.plane.pins.dir, 4096)
	if _, err := next.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	if replaced, err := c.Replaced(); !replaced || err != nil {
		t.Errorf("replaced is %v: %v", replaced, err)
	}
}

func TestPrivilegedNothingCanBeCapturedWhereNothingRuns(t *testing.T) {
	dir := pinDir(t)
	if _, err := OpenCapture(CaptureOptions{PinDir: dir}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("the error is %v", err)
	}
}

func TestAPrefixIsSixteenBytesAndAMask(t *testing.T) {
	for _, row := range []struct {
		prefix     string
		in, beside string
	}{
		{"192.0.2.0/25", "192.0.2.127", "192.0.2.128"},
		{"192.0.2.10/32", "192.0.2.10", "192.0.2.11"},
		{"0.0.0.0/0", "255.1.2.3", "2001:db8::1"},
		{"2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"},
		{"2001:db8::1/128", "2001:db8::1", "2001:db8::3"},
	} {
		address, mask := encodeRange(netip.MustParsePrefix(row.prefix))
		for text, want := range map[string]bool{row.in: true, row.beside: false} {
			encoded, among := encodeAddress(netip.MustParseAddr(text)).Word, true
			for i := range encoded {
				among = among && encoded[i]&mask[i] == address[i]
			}
			if among != want {
				t.Errorf("%s is in %s: %v", text, row.prefix, among)
			}
		}
	}
}

func TestPrivilegedFramesOfAnyLengthAreCopiedToTheLastByte(t *testing.T) {
	h := captured(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	c := h.capture(CaptureOptions{})
	for _, size := range []int{64, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 3200} {
		sent := flow{protocol: dataplane.UDP, size: size}.frame()
		h.pass(sent)
		if got := seen(t, c); len(got) != 2 || !bytes.Equal(got[0].Frame, sent) {
			t.Errorf("of a frame of %d bytes %d records were seen, and not its bytes", len(sent), len(got))
		}
	}
}

func TestPrivilegedACaptureSeesNothingOfTheOneBefore(t *testing.T) {
	h := captured(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	first := h.capture(CaptureOptions{})
	h.pass(flow{protocol: dataplane.TCP}.frame())
	if err := first.Close(); err != nil { // without reading
		t.Fatal(err)
	}
	if got := seen(t, h.capture(CaptureOptions{})); len(got) > 0 {
		t.Errorf("it sees %+v", got)
	}
}
