package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pointsman/pointsman/dataplane"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 123456789, time.UTC)

func came(cpu int, number uint64, frame string) dataplane.Captured {
	return dataplane.Captured{CPU: cpu, Number: number, At: noon, Interface: 2, Queue: 7, Length: len(frame), Frame: []byte(frame)}
}

func gone(cpu int, number uint64, verdict dataplane.Verdict, outcome string, by uint32, frame string) dataplane.Captured {
	return dataplane.Captured{CPU: cpu, Number: number, Gone: true, At: noon.Add(time.Microsecond), Interface: by, Queue: 7,
		Length: len(frame), Frame: []byte(frame), Verdict: verdict, Outcome: outcome}
}

// line is a packet of the file in words.
func line(iface, frame string, length int, direction, comment string, id uint64) string {
	return fmt.Sprintf("%s: %s of %d, %s, packet %d: %s", iface, frame, length, direction, id, comment)
}

// lines reads a file back.
func lines(t *testing.T, file io.Reader) (all []string) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		iface, err := r.Interface(info.InterfaceIndex)
		if err != nil || options.Flags == nil || options.PacketID == nil || len(options.Comments) != 1 {
			t.Fatalf("packet %q on %+v with %+v: %v", frame, iface, options, err)
		}
		direction := map[pcapgo.NgEpbFlag]string{pcapgo.NgEpbFlagDirectionInbound: "in", pcapgo.NgEpbFlagDirectionOutbound: "out"}
		all = append(all, line(iface.Name, string(frame), info.Length, direction[options.Flags.Direction], options.Comments[0], *options.PacketID))
	}
}

func TestTheFileSaysOfEachPacketWhatBecameOfIt(t *testing.T) {
	const other = uint64(3) << 48 // the number of CPU 3's packet 0
	for _, row := range []struct {
		promise string
		seen    []dataplane.Captured
		want    []string
		packets int
	}{
		{"what goes back out stands before and after", []dataplane.Captured{
			came(0, 1, "SYN"), gone(0, 1, dataplane.Transmit, "FORWARD", 2, "tunnel SYN"),
		}, []string{
			line("eth0 in", "SYN", 3, "in", "FORWARD, XDP_TX", 1), line("eth0 out", "tunnel SYN", 10, "out", "FORWARD, XDP_TX", 1),
		}, 1},
		{"what is redirected leaves by another interface, new to the file", []dataplane.Captured{
			came(0, 1, "SYN"), gone(0, 1, dataplane.Redirect, "FORWARD", 5, "tunnel SYN"),
		}, []string{
			line("eth0 in", "SYN", 3, "in", "FORWARD, XDP_REDIRECT", 1), line("eth5 out", "tunnel SYN", 10, "out", "FORWARD, XDP_REDIRECT", 1),
		}, 1},
		{"what stays stands there once, with the reason", []dataplane.Captured{
			came(0, 1, "ARP"), gone(0, 1, dataplane.Pass, "PASS_NOT_IP", 2, ""),
			came(0, 2, "SYN"), gone(0, 2, dataplane.Drop, "DROP_NO_BACKEND", 2, ""),
		}, []string{
			line("eth0 in", "ARP", 3, "in", "PASS_NOT_IP, XDP_PASS", 1), line("eth0 in", "SYN", 3, "in", "DROP_NO_BACKEND, XDP_DROP", 2),
		}, 2},
		{"packets of several CPUs are told apart", []dataplane.Captured{
			came(0, 1, "one"), came(3, 1, "two"), gone(0, 1, dataplane.Pass, "PASS_NOT_VIP", 2, ""), gone(3, 1, dataplane.Drop, "DROP_BAD_LENGTH", 2, ""),
		}, []string{
			line("eth0 in", "one", 3, "in", "PASS_NOT_VIP, XDP_PASS", 1), line("eth0 in", "two", 3, "in", "DROP_BAD_LENGTH, XDP_DROP", other+1),
		}, 2},
		{"of what is lost of a packet nothing is invented", []dataplane.Captured{
			came(0, 1, "one"), came(0, 2, "two"), gone(0, 2, dataplane.Pass, "PASS_NOT_VIP", 2, ""), came(0, 3, "three"),
		}, []string{
			line("eth0 in", "one", 3, "in", "what became of it was lost to the capture", 1), line("eth0 in", "two", 3, "in", "PASS_NOT_VIP, XDP_PASS", 2),
			line("eth0 in", "three", 5, "in", "what became of it was lost to the capture", 3),
		}, 3},
		{"and an end without a beginning is none", []dataplane.Captured{gone(0, 1, dataplane.Transmit, "FORWARD", 2, "tunnel SYN")}, nil, 0},
		{"nothing at all is a file, too", nil, nil, 0},
	} {
		t.Run(row.promise, func(t *testing.T) {
			var out bytes.Buffer
			w, err := NewWriter(&out, Options{Version: "1.0", Snaplen: 100, Name: func(i uint32) string { return fmt.Sprintf("eth%d", i&^2) }}, []uint32{2})
			if err != nil {
				t.Fatal(err)
			}
			for _, seen := range row.seen {
				if err := w.Take(seen); err != nil {
					t.Fatal(err)
				}
				clear(seen.Frame) // the ring's memory is used again
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got := lines(t, &out); !reflect.DeepEqual(got, row.want) {
				t.Errorf("the file has\n%q, want\n%q", got, row.want)
			}
			if w.Packets() != row.packets {
				t.Errorf("it says %d packets, not %d", w.Packets(), row.packets)
			}
		})
	}
}

func TestTheFileHasTheVerdictTheQueueAndTheTimeToTheNanosecond(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Options{Version: "1.0", Filter: "to 192.0.2.10", Snaplen: 2, Name: func(uint32) string { return "eth0" }}, []uint32{2})
	if err != nil {
		t.Fatal(err)
	}
	cut := came(0, 1, "SYN")
	cut.Frame = cut.Frame[:2]
	for _, seen := range []dataplane.Captured{cut, gone(0, 1, dataplane.Drop, "DROP_NO_BACKEND", 2, "")} {
		if err := w.Take(seen); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&out, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	frame, info, options, err := r.ReadPacketDataWithOptions()
	if err != nil || string(frame) != "SY" || info.Length != 3 || !info.Timestamp.Equal(noon) || *options.Queue != 7 {
		t.Errorf("%q of %d at %v by queue %v: %v", frame, info.Length, info.Timestamp, options.Queue, err)
	}
	// The option epb_verdict: type 2 is XDP's, the rest its code in 64 bits.
	if v := options.Verdicts; len(v) != 1 || v[0].Type != pcapgo.NgEpbVerdictTypeLinuxeBPFXDP || !bytes.Equal(v[0].Data, []byte{1, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("the verdicts are %+v", v)
	}
	if i, err := r.Interface(0); err != nil || i.Filter != "to 192.0.2.10" || i.SnapLength != 2 {
		t.Errorf("the interface is %+v: %v", i, err)
	}
	if section := r.SectionInfo(); section.Application != "pointsman 1.0" {
		t.Errorf("the section is %+v", section)
	}
}
