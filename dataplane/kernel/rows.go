package kernel

import (
	"fmt"
	"net"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// rows are the interfaces that have one of interface_outcomes, by its number.
type rows map[uint32]uint32

// findRows looks for who has one.
func (d *DataPlane) findRows() error {
	d.rows = rows{}
	for row := range d.objects.InterfaceOutcomes.MaxEntries() {
		ifindex, _, err := countedIn(d.objects.InterfaceOutcomes, row)
		if err != nil {
			return err
		}
		if ifindex != 0 {
			d.rows[row] = ifindex
		}
	}
	return nil
}

// indexesOf are those of interfaces, as far as there are any of these names.
func indexesOf(interfaces []string) map[uint32]bool {
	indexes := make(map[uint32]bool)
	for _, name := range interfaces {
		if device, err := net.InterfaceByName(name); err == nil {
			indexes[uint32(device.Index)] = true
		}
	}
	return indexes
}

// giveRows gives rows to interfaces that have none, while they are free.
func (d *DataPlane) giveRows(interfaces map[uint32]bool) error {
	for ifindex := range interfaces {
		row := ifindex % d.objects.InterfaceOutcomes.MaxEntries()
		if _, taken := d.rows[row]; taken {
			continue
		}
		perCPU := make([]lbInterfaceOutcomes, ebpf.MustPossibleCPU())
		for cpu := range perCPU {
			perCPU[cpu].Ifindex = uint64(ifindex)
		}
		if err := d.objects.InterfaceOutcomes.Put(row, perCPU); err != nil {
			return fmt.Errorf("having packets of interface %d counted: %w", ifindex, err)
		}
		d.rows[row] = ifindex
	}
	return nil
}

// takeRowsBack takes them from all other interfaces, whose packets stay counted.
func (d *DataPlane) takeRowsBack(interfaces map[uint32]bool) error {
	for row, ifindex := range d.rows {
		if interfaces[ifindex] {
			continue
		}
		_, sums, err := countedIn(d.objects.InterfaceOutcomes, row)
		if err == nil {
			err = addAll(d.objects.Outcomes, sums)
		}
		if err == nil {
			err = d.objects.InterfaceOutcomes.Put(row, zeros(d.objects.InterfaceOutcomes))
		}
		if err != nil {
			return fmt.Errorf("keeping what came by interface %d: %w", ifindex, err)
		}
		delete(d.rows, row)
	}
	return nil
}

// addRows adds what rows say to counters.
func (d *DataPlane) addRows(to *dataplane.Counters) error {
	for row := range d.rows {
		ifindex, sums, err := countedIn(d.objects.InterfaceOutcomes, row)
		if err != nil {
			return err
		}
		addRow(to, ifindex, d.outcomes, sums)
	}
	return nil
}

func addRow(to *dataplane.Counters, ifindex uint32, outcomes []string, sums []uint64) {
	for number, n := range sums {
		if n == 0 {
			continue
		}
		of := to.ByInterface[ifindex]
		if of == nil {
			of = make(map[string]uint64)
			to.ByInterface[ifindex] = of
		}
		of[outcomes[number]] += n
		to.Outcomes[outcomes[number]] += n
	}
}

// countedIn reads a row; it is nobody's where ifindex is zero.
func countedIn(m *ebpf.Map, row uint32) (ifindex uint32, sums []uint64, err error) {
	var perCPU []lbInterfaceOutcomes
	if err := m.Lookup(row, &perCPU); err != nil {
		return 0, nil, fmt.Errorf("reading row %d of %s: %w", row, m, err)
	}
	sums = make([]uint64, len(perCPU[0].Packets))
	for _, here := range perCPU {
		ifindex = max(ifindex, uint32(here.Ifindex))
		for i, n := range here.Packets {
			sums[i] += n
		}
	}
	return ifindex, sums, nil
}
