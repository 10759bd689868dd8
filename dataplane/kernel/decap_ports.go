package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// DecapPort maps a VIP's port to that of an instance on this host.
type DecapPort struct {
	VIP      netip.AddrPort
	Protocol dataplane.Protocol
	Local    uint16
	// Named maps only what a tunnel names Local for: one of several instances.
	Named bool
}

// decapPortKeys are the entries of both ways. Package decap sees to it that no
// two mappings have the same.
func decapPortKeys(ports []DecapPort) (in, out map[decapDecapPort]uint16) {
	in, out = make(map[decapDecapPort]uint16, len(ports)), make(map[decapDecapPort]uint16, len(ports))
	for _, port := range ports {
		key := decapDecapPort{Protocol: uint8(port.Protocol), V6: uint8(decapFamily(port.VIP.Addr()))}
		key.Address.Word = encodeAddress(port.VIP.Addr()).Word
		inwards, outwards := key, key
		inwards.Port, outwards.Port = encodePort(port.VIP.Port()), encodePort(port.Local)
		if port.Named {
			inwards.Named = encodePort(port.Local)
		}
		in[inwards], out[outwards] = encodePort(port.Local), encodePort(port.VIP.Port())
	}
	return in, out
}

// markMapped tells the programs which VIPs to look at ports for.
func markMapped(vips map[decapDecapVip]decapDecapVipPorts, ports []DecapPort) {
	for _, port := range ports {
		key := decapDecapVip{V6: decapFamily(port.VIP.Addr())}
		key.Address.Word = encodeAddress(port.VIP.Addr()).Word
		if _, ours := vips[key]; ours {
			vips[key] = decapDecapVipPortsPORTS_MAPPED
		}
	}
}

// DecapPorts are the mappings that are in effect on an interface, in order.
func DecapPorts(pinDir, iface string) ([]DecapPort, error) {
	path := decapDir(pinDir, iface) + "/" + decapMapDecapPortsIn
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("opening the mappings of %s: %w", iface, err)
	}
	defer m.Close()
	var (
		ports []DecapPort
		key   decapDecapPort
		local uint16
	)
	entries := m.Iterate()
	for entries.Next(&key, &local) {
		ports = append(ports, DecapPort{
			VIP:      netip.AddrPortFrom(decodeAddress(lbAddress{Word: key.Address.Word}), decodePort(key.Port)),
			Protocol: dataplane.Protocol(key.Protocol),
			Local:    decodePort(local),
			Named:    key.Named != 0,
		})
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("reading the mappings of %s: %w", iface, err)
	}
	slices.SortFunc(ports, compareDecapPorts)
	return slices.Compact(ports), nil // iterating may have begun anew
}

// DecapVIPs are the VIPs with one address that an interface takes packets in for,
// in order.
func DecapVIPs(pinDir, iface string) ([]netip.Prefix, error) {
	m, err := ebpf.LoadPinnedMap(decapDir(pinDir, iface)+"/"+decapMapDecapVips, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("opening the VIPs of %s: %w", iface, err)
	}
	defer m.Close()
	var (
		vips  []netip.Prefix
		key   decapDecapVip
		ports decapDecapVipPorts
	)
	entries := m.Iterate()
	for entries.Next(&key, &ports) {
		addr := decodeAddress(lbAddress{Word: key.Address.Word})
		vips = append(vips, netip.PrefixFrom(addr, addr.BitLen()))
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("reading the VIPs of %s: %w", iface, err)
	}
	slices.SortFunc(vips, netip.Prefix.Compare)
	return slices.Compact(vips), nil
}

func compareDecapPorts(a, b DecapPort) int {
	return cmp.Or(a.VIP.Compare(b.VIP), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Local, b.Local), int(one(a.Named))-int(one(b.Named)))
}

// decapTables are all entries that a host should have, written in two halves:
// what is new before anything can need it, and what is old once nothing can.
type decapTables struct {
	vips    map[decapDecapVip]decapDecapVipPorts
	wide    map[decapDecapPrefix]decapDecapVipPorts
	sources map[decapDecapPrefix]uint8
	in, out map[decapDecapPort]uint16
}

func (o DecapOptions) tables() decapTables {
	var t decapTables
	t.vips, t.wide = decapVIPKeys(o.VIPs)
	t.sources = withDecapValue(decapPrefixKeys(o.From), uint8(1))
	t.in, t.out = decapPortKeys(o.Ports)
	markMapped(t.vips, o.Ports)
	return t
}

// putPorts is done before the program of the way out is attached: the ports of a
// VIP are mapped in both directions at once, when the VIP is marked.
func (t decapTables) putPorts(objs *decapObjects) error {
	if err := errors.Join(putDecapKeys(objs.DecapPortsOut, t.out), putDecapKeys(objs.DecapPortsIn, t.in)); err != nil {
		return fmt.Errorf("writing mappings of ports: %w", err)
	}
	return nil
}

func (t decapTables) putAddresses(objs *decapObjects) error {
	if err := errors.Join(putDecapKeys(objs.DecapVips, t.vips), putDecapKeys(objs.DecapVipPrefixes, t.wide)); err != nil {
		return fmt.Errorf("writing VIPs: %w", err)
	}
	if err := putDecapKeys(objs.DecapSources, t.sources); err != nil {
		return fmt.Errorf("writing allowed sources: %w", err)
	}
	return nil
}

// keep deletes all else, the way in before the way out.
func (t decapTables) keep(objs *decapObjects) error {
	if err := errors.Join(keepDecapKeys(objs.DecapVips, t.vips), keepDecapKeys(objs.DecapVipPrefixes, t.wide)); err != nil {
		return fmt.Errorf("removing old VIPs: %w", err)
	}
	if err := keepDecapKeys(objs.DecapSources, t.sources); err != nil {
		return fmt.Errorf("removing old allowed sources: %w", err)
	}
	if err := errors.Join(keepDecapKeys(objs.DecapPortsIn, t.in), keepDecapKeys(objs.DecapPortsOut, t.out)); err != nil {
		return fmt.Errorf("removing old mappings of ports: %w", err)
	}
	return nil
}
