package traffic

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEachPacketOfAFloodIsASYNOfAnotherFlow(t *testing.T) {
	b := Flood{To: netip.MustParseAddrPort("192.0.2.1:7000")}.newBatch()
	seen := map[[6]byte]bool{}
	for n := range uint64(200_000) {
		p := &b.packets[n%floodBatch]
		p.stamp(n * 0x9e3779b97f4a7c15 & (1<<floodBits - 1))
		source := [6]byte(append(p[12:16:16], p[20:22]...))
		if seen[source] {
			t.Fatalf("packet %d is of a flow that was there before: %x", n, source)
		}
		seen[source] = true
		if from := netip.AddrFrom4([4]byte(p[12:16])); !FloodNet.Contains(from) {
			t.Fatalf("packet %d is from %s", n, from)
		}
		if sum := checksum(p); sum != 0xffff {
			t.Fatalf("the sum over packet %d is %#x: %x", n, sum, *p)
		}
	}
}

// checksum is that of RFC 9293, section 3.1, over all words: 0xffff if right.
func checksum(p *syn) uint32 {
	sum := uint32(unix.IPPROTO_TCP + len(p) - 20)
	for i := 12; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

func TestPrivilegedAFloodArrivesAtItsRate(t *testing.T) {
	l := newLab(t)
	b := l.Backends[0]
	if err := l.Router.AddRoute(FloodNet, l.Client.Addr4); err != nil {
		t.Fatal(err)
	}
	packets, err := b.ListenPacket("ip4:tcp", "0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	arrived := make(chan int, 1)
	go func() { // ends with the deadline of its socket
		count, buffer := 0, make([]byte, 2048)
		_ = packets.SetReadDeadline(time.Now().Add(5 * time.Second))
		for count < 1000 {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				break
			}
			if addr, _ := netip.ParseAddr(from.String()); FloodNet.Contains(addr) {
				count++
			}
		}
		cancel()
		arrived <- count
	}()
	began := time.Now()
	sent, err := Flood{From: l.Client, To: netip.AddrPortFrom(b.Addr4, 7000), Rate: 2000}.Run(ctx)
	took := time.Since(began)
	if got := <-arrived; err != nil || got < 1000 {
		t.Errorf("%d packets of %d arrived: %v", got, sent, err)
	}
	if most := uint64(2000*took.Seconds()) + floodBatch; sent > most {
		t.Errorf("%d packets were sent in %v", sent, took)
	}
}
