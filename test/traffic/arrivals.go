package traffic

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// Arrivals counts the packets of floods that come in to hosts, out of their tunnel.
type Arrivals struct {
	sockets []int
	count   uint64
}

// CountArrivals begins to count on an interface of hosts.
func CountArrivals(iface string, on ...*lab.Host) (*Arrivals, error) {
	a := &Arrivals{}
	for _, h := range on {
		link, err := h.Links().LinkByName(iface)
		if err == nil {
			err = h.Do(func() error { return a.listen(link.Attrs().Index) })
		}
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("counting what %s of %s gets: %w", iface, h.Name, err)
		}
	}
	return a, nil
}

// Offsets in a datagram of IPv4.
const sourceAt = 12

func (a *Arrivals) listen(ifindex int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	a.sockets = append(a.sockets, fd)
	base := FloodNet.Addr().As4()
	network, mask := binary.BigEndian.Uint32(base[:]), ^uint32(0)<<(32-FloodNet.Bits())
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: sourceAt},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: network, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return err
	}
	// Only now: what came before the filter was there would be counted, too.
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: ifindex})
}

func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// Count is how many have come so far, those for which the sockets have no room included.
func (a *Arrivals) Count() (uint64, error) {
	for _, fd := range a.sockets {
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS) // since it was asked last
		if err != nil {
			return a.count, fmt.Errorf("reading how many packets came: %w", err)
		}
		a.count += uint64(stats.Packets)
	}
	return a.count, nil
}

// overdue is when packets that have not come are lost, on the slowest machine.
const overdue = 10 * time.Second

// await returns once so many have come.
func (a *Arrivals) await(sent uint64) error {
	for began := time.Now(); ; time.Sleep(20 * time.Microsecond) {
		came, err := a.Count()
		if err != nil || came >= sent {
			return err
		}
		if time.Since(began) > overdue {
			return fmt.Errorf("%d of %d packets have not come in %v", sent-came, sent, overdue)
		}
	}
}

// Close ends the counting.
func (a *Arrivals) Close() {
	for _, fd := range a.sockets {
		unix.Close(fd)
	}
}
