package kernel

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// Mend makes the entries of maps again what they were left as, byte for byte, and
// says what somebody else had done to them, a sentence an entry. Owners and
// conditions of slots are not among them: those are the tables' own memory, see
// dataplane.Astray and Tables.Overwritten. Nor is what the program writes.
func (d *DataPlane) Mend(left *dataplane.Tables) ([]string, error) {
	var (
		found    []string
		failures []error
	)
	// Interfaces and backends before what leads to them.
	for _, mend := range []func(*dataplane.Tables) ([]string, error){
		d.mendEgress, d.mendNAT, d.mendServices, d.mendBackends, d.mendQUICIDs, d.mendAddresses, d.mendPrefixes, d.mendVIPs, d.mendNotes,
	} {
		mended, err := mend(left)
		found, failures = append(found, mended...), append(failures, err)
	}
	return append(found, d.mendSwitches(left)...), errors.Join(failures...)
}

// mend compares a map with what it was left with.
func mend[Key, Value comparable](m *ebpf.Map, held, left map[Key]Value, name func(Key) string) ([]string, error) {
	var (
		found    []string
		failures []error
	)
	for _, stray := range dataplane.Strays(held, left) {
		write := func() error { return m.Put(stray.Key, stray.Left) }
		if stray.Was == dataplane.Added && m.Type() != ebpf.Array {
			write = func() error { return deleteKey(m, stray.Key) }
		}
		about := fmt.Sprintf("%s of %s", name(stray.Key), mapName(m))
		if err := write(); err != nil {
			failures = append(failures, fmt.Errorf("mending %s, which somebody had %s: %w", about, stray.Was, err))
			continue
		}
		found = append(found, fmt.Sprintf("%s was %s", about, stray.Was))
	}
	slices.Sort(found)
	return found, errors.Join(failures...)
}

// mendHash is mend of a map whose entries are read one by one.
func mendHash[Key, Value comparable](m *ebpf.Map, left map[Key]Value, name func(Key) string) ([]string, error) {
	held := make(map[Key]Value, len(left))
	if err := each(m, func(key Key, value Value) { held[key] = value }); err != nil {
		return nil, err
	}
	return mend(m, held, left, name)
}

func mapName(m *ebpf.Map) string {
	info, err := m.Info()
	if err != nil {
		return m.String()
	}
	return info.Name
}

func (d *DataPlane) mendEgress(left *dataplane.Tables) ([]string, error) {
	interfaces := make(map[uint32]uint32, len(left.Egress))
	for ifindex := range left.Egress {
		interfaces[ifindex] = ifindex
	}
	return mendHash(d.objects.Egress, interfaces, func(ifindex uint32) string { return fmt.Sprintf("interface %d", ifindex) })
}

func (d *DataPlane) mendNAT(left *dataplane.Tables) ([]string, error) {
	held, settings := make(map[uint32]lbNatSettings), make(map[uint32]lbNatSettings)
	if !left.NAT.Equal(dataplane.NATSettings{}) {
		encoded, err := encodeNAT(left.NAT)
		if err != nil {
			return nil, err
		}
		settings[0] = encoded
	}
	err := each(d.objects.Nat, func(key uint32, value lbNatSettings) {
		if value != (lbNatSettings{}) {
			held[key] = value
		}
	})
	if err != nil {
		return nil, err
	}
	return mend(d.objects.Nat, held, settings, theValue)
}

// theValue is the name of the only entry of a map.
func theValue(uint32) string { return "the value" }

func (d *DataPlane) mendServices(left *dataplane.Tables) ([]string, error) {
	services := make(map[uint32]lbService, len(left.Services))
	for id, entry := range left.Services {
		encoded, err := encodeService(entry)
		if err != nil {
			return nil, err
		}
		services[id] = encoded
	}
	return mendHash(d.objects.Services, services, func(id uint32) string { return fmt.Sprintf("service %d", id) })
}

func (d *DataPlane) mendBackends(left *dataplane.Tables) ([]string, error) {
	backends, held := make(map[uint32]lbBackend, len(left.Backends)), make(map[uint32]lbBackend, len(left.Backends))
	for index, entry := range left.Backends {
		encoded, err := encodeBackend(entry)
		if err != nil {
			return nil, err
		}
		backends[index] = encoded
	}
	if err := d.eachBackend(func(index uint32, entry lbBackend) { held[index] = entry }); err != nil {
		return nil, err
	}
	return mend(d.objects.Backends, held, backends, func(index uint32) string { return fmt.Sprintf("backend %d", index) })
}

func (d *DataPlane) mendQUICIDs(left *dataplane.Tables) ([]string, error) {
	ids := make(map[lbQuicKey]uint32, len(left.QUICIDs))
	for key, index := range left.QUICIDs {
		ids[encodeQUICKey(key)] = index
	}
	return mendHash(d.objects.QuicIds, ids, func(key lbQuicKey) string { return decodeQUICKey(key).String() })
}

func (d *DataPlane) mendAddresses(left *dataplane.Tables) ([]string, error) {
	addresses := make(map[lbVipAddress]uint32, len(left.Addresses))
	for addr := range left.Addresses {
		addresses[encodeVIPAddress(addr)] = 0
	}
	return mendHash(d.objects.VipAddresses, addresses, func(key lbVipAddress) string { return decodeAddress(key.Address).String() })
}

func (d *DataPlane) mendPrefixes(left *dataplane.Tables) ([]string, error) {
	prefixes := make(map[lbWidePrefixKey]lbWidePrefix, len(left.Prefixes))
	for prefix := range left.Prefixes {
		key, value := encodePrefix(prefix)
		prefixes[key] = value
	}
	return mendHash(d.objects.WidePrefixes, prefixes, func(key lbWidePrefixKey) string {
		return fmt.Sprintf("%s/%d", decodeAddress(key.Address), key.Bits-widePrefixFixed)
	})
}

func (d *DataPlane) mendVIPs(left *dataplane.Tables) ([]string, error) {
	exact, wide := make(map[lbVipKey]lbVip, len(left.VIPs)), make(map[lbWideVipKey]lbVip)
	for vip, entry := range left.VIPs {
		if !vip.IsWide() {
			exact[encodeVIP(vip)] = encodeVIPEntry(entry)
			continue
		}
		key, err := encodeWideVIP(vip)
		if err != nil {
			return nil, err
		}
		wide[key] = encodeVIPEntry(entry)
	}
	found, err := mendHash(d.objects.WideVips, wide, func(key lbWideVipKey) string { return decodeWideVIP(key).String() })
	more, failure := mendHash(d.objects.Vips, exact, func(key lbVipKey) string { return decodeVIP(key).String() })
	places, failed := d.exact.mend(&d.objects)
	return slices.Concat(found, more, places), errors.Join(err, failure, failed)
}

// mendNotes is about what the maps say of themselves.
func (d *DataPlane) mendNotes(*dataplane.Tables) ([]string, error) {
	found, err := mendHash(d.objects.Layouts, map[uint32]lbLayout{0: d.layout}, theValue)
	more, failure := mendHash(d.objects.TypeNotes, map[uint32]lbMapTypes{0: *d.typeNotes}, theValue)
	return append(found, more...), errors.Join(err, failure)
}

func (d *DataPlane) mendSwitches(left *dataplane.Tables) (found []string) {
	wide, words := uint32(one(left.SeesWide)), d.mapped.switches
	if atomic.SwapUint32(&words.Wide, wide) != wide {
		found = append(found, "the switch for wide VIPs was changed")
	}
	nat := uint32(one(left.SeesNAT))
	if atomic.SwapUint32(&words.Nat, nat) != nat {
		found = append(found, "the switch for connections of nat was changed")
	}
	d.watching.Lock()
	defer d.watching.Unlock()
	if atomic.SwapUint32(&words.WatchDrops, d.watching.until) != d.watching.until {
		found = append(found, "the switch for watching drops was changed")
	}
	return found
}
