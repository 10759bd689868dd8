package kernel

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// natAddresses keeps the addresses of nat backends where the program finds them:
// several backends may have one. They follow from the entries of backends, so
// they are not pinned but made anew with each program.
type natAddresses struct {
	table *ebpf.Map
	of    map[uint32]netip.Addr // by the backend's index
	uses  map[netip.Addr]int
}

// readNATAddresses makes them from the entries that there are.
func (d *DataPlane) readNATAddresses() error {
	d.natAddresses = natAddresses{table: d.objects.NatBackends, of: make(map[uint32]netip.Addr), uses: make(map[netip.Addr]int)}
	var failure error
	err := d.eachBackend(func(index uint32, entry lbBackend) {
		if backend := decodeBackend(entry); backend.Forward == dataplane.NAT && failure == nil {
			failure = d.natAddresses.put(index, backend.Addr)
		}
	})
	if err != nil {
		return err
	}
	return failure
}

func (n *natAddresses) put(index uint32, addr netip.Addr) error {
	if n.of[index] == addr {
		return nil
	}
	if err := n.delete(index); err != nil {
		return err
	}
	if n.uses[addr] == 0 {
		if err := n.table.Put(encodeVIPAddress(addr), uint32(0)); err != nil {
			return fmt.Errorf("noting that %s is of a nat backend: %w", addr, err)
		}
	}
	n.of[index] = addr
	n.uses[addr]++
	return nil
}

func (n *natAddresses) delete(index uint32) error {
	addr, known := n.of[index]
	if !known {
		return nil
	}
	if n.uses[addr] == 1 {
		if err := deleteKey(n.table, encodeVIPAddress(addr)); err != nil {
			return fmt.Errorf("noting that %s is of no nat backend any more: %w", addr, err)
		}
	}
	delete(n.of, index)
	if n.uses[addr]--; n.uses[addr] == 0 {
		delete(n.uses, addr)
	}
	return nil
}
