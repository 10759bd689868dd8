package kernel

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// Write carries out one step. Owners and conditions of slots are written by the
// step's Replay on the tables that Tables returned, which are the maps' memory.
func (d *DataPlane) Write(step dataplane.Step) error {
	switch s := step.(type) {
	case dataplane.PutEgress:
		return d.objects.Egress.Put(s.Interface, s.Interface)
	case dataplane.DeleteEgress:
		return deleteKey(d.objects.Egress, s.Interface)
	case dataplane.PutBackend:
		return d.putBackend(s)
	case dataplane.DeleteBackend:
		return d.deleteBackend(s.Index)
	case dataplane.PutService:
		return d.putService(s)
	case dataplane.DeleteService:
		return deleteKey(d.objects.Services, s.ID)
	case dataplane.PutAddress:
		return d.objects.VipAddresses.Put(encodeVIPAddress(s.Addr), uint32(0))
	case dataplane.DeleteAddress:
		return deleteKey(d.objects.VipAddresses, encodeVIPAddress(s.Addr))
	case dataplane.PutVIP:
		return d.putVIP(s)
	case dataplane.DeleteVIP:
		return d.deleteVIP(s.VIP)
	case dataplane.PutPrefix:
		key, value := encodePrefix(s.Prefix)
		return d.objects.WidePrefixes.Put(key, value)
	case dataplane.DeletePrefix:
		key, _ := encodePrefix(s.Prefix)
		return deleteKey(d.objects.WidePrefixes, key)
	case dataplane.SeeWide:
		atomic.StoreUint32(&d.mapped.switches.Wide, uint32(one(s.On)))
		return nil
	case dataplane.PutNAT:
		return d.putNAT(s.Settings)
	case dataplane.SeeNAT:
		atomic.StoreUint32(&d.mapped.switches.Nat, uint32(one(s.On)))
		return nil
	case dataplane.PutQUICID:
		return d.objects.QuicIds.Put(encodeQUICKey(s.Key), s.Backend)
	case dataplane.DeleteQUICID:
		return deleteKey(d.objects.QuicIds, encodeQUICKey(s.Key))
	case dataplane.PutSlots:
		return d.checkSlots(s)
	case dataplane.PutConditions:
		return d.checkConditions(s)
	}
	return fmt.Errorf("no way to write a %T", step)
}

func (d *DataPlane) putNAT(settings dataplane.NATSettings) error {
	encoded, err := encodeNAT(settings)
	if err != nil {
		return err
	}
	return d.objects.Nat.Put(uint32(0), encoded)
}

func (d *DataPlane) putVIP(s dataplane.PutVIP) error {
	if !s.VIP.IsWide() {
		key, entry := encodeVIP(s.VIP), encodeVIPEntry(s.Entry)
		if err := d.objects.Vips.Put(key, entry); err != nil {
			return err
		}
		d.exact.put(key, entry)
		return nil
	}
	key, err := encodeWideVIP(s.VIP)
	if err != nil {
		return err
	}
	return d.objects.WideVips.Put(key, encodeVIPEntry(s.Entry))
}

func (d *DataPlane) deleteVIP(vip dataplane.VIP) error {
	if !vip.IsWide() {
		key := encodeVIP(vip)
		if err := deleteKey(d.objects.Vips, key); err != nil {
			return err
		}
		d.exact.delete(key)
		return nil
	}
	key, err := encodeWideVIP(vip)
	if err != nil {
		return err
	}
	return deleteKey(d.objects.WideVips, key)
}

func (d *DataPlane) putBackend(s dataplane.PutBackend) error {
	entry, err := encodeBackend(s.Entry)
	if err != nil {
		return err
	}
	if s.New {
		if err := d.retireCounters(s.Index); err != nil {
			return err
		}
	}
	if s.Entry.Forward == dataplane.NAT {
		err = d.natAddresses.put(s.Index, s.Entry.Addr)
	} else {
		err = d.natAddresses.delete(s.Index)
	}
	return errors.Join(err, d.objects.Backends.Put(s.Index, entry))
}

func (d *DataPlane) deleteBackend(index uint32) error {
	if err := d.objects.Backends.Put(index, lbBackend{}); err != nil {
		return err
	}
	return errors.Join(d.natAddresses.delete(index), d.retireCounters(index))
}

// retireCounters zeroes the counters of an index that no packet uses, and adds
// its packets to those forwarded to backends that are gone.
func (d *DataPlane) retireCounters(index uint32) error {
	var counts []lbBackendCount
	if err := d.objects.BackendCounters.Lookup(index, &counts); err != nil {
		return fmt.Errorf("reading the counters of backend %d: %w", index, err)
	}
	var gone []uint64
	if err := d.objects.Outcomes.Lookup(lbOutcomeFORWARD, &gone); err != nil {
		return fmt.Errorf("reading the packets of former backends: %w", err)
	}
	for cpu := range counts {
		gone[cpu] += counts[cpu].Packets
	}
	if err := d.objects.Outcomes.Put(lbOutcomeFORWARD, gone); err != nil {
		return fmt.Errorf("adding to the packets of former backends: %w", err)
	}
	if err := d.objects.BackendCounters.Put(index, make([]lbBackendCount, len(counts))); err != nil {
		return fmt.Errorf("zeroing the counters of backend %d: %w", index, err)
	}
	return nil
}

func (d *DataPlane) putService(s dataplane.PutService) error {
	entry, err := encodeService(s.Entry)
	if err != nil {
		return err
	}
	var before lbService
	err = d.objects.Services.Lookup(s.ID, &before)
	if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && before.Name != entry.Name {
		err = d.objects.ServiceDrops.Put(s.ID, zeros(d.objects.ServiceDrops))
	}
	if err != nil {
		return fmt.Errorf("zeroing the drops of service %d: %w", s.ID, err)
	}
	return d.objects.Services.Put(s.ID, entry)
}

func (d *DataPlane) checkSlots(s dataplane.PutSlots) error {
	for _, owner := range s.Owners {
		if int(owner.Slot) >= len(d.mapped.slots) {
			return fmt.Errorf("slot %d of %s is outside the map's %d slots", owner.Slot, s.Name, len(d.mapped.slots))
		}
	}
	return nil
}

func (d *DataPlane) checkConditions(s dataplane.PutConditions) error {
	for _, change := range s.Changes {
		if int(change.Slot) >= len(d.mapped.slots) {
			return fmt.Errorf("slot %d of %s is outside the map's %d slots", change.Slot, s.Name, len(d.mapped.slots))
		}
	}
	return nil
}

// deleteKey deletes what may already be gone: a step can be taken again after
// an interruption.
func deleteKey(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}
