package kernel

import (
	"errors"
	"net/netip"

	"github.com/cilium/ebpf"
)

func decapFamily(addr netip.Addr) uint32 {
	if addr.Is4() {
		return 0
	}
	return 1
}

// decapVIPKeys are those of single addresses and those of prefixes.
func decapVIPKeys(vips []netip.Prefix) (map[decapDecapVip]decapDecapVipPorts, map[decapDecapPrefix]decapDecapVipPorts) {
	keys := make(map[decapDecapVip]decapDecapVipPorts, len(vips))
	var wide []netip.Prefix
	for _, vip := range vips {
		if !vip.IsSingleIP() {
			wide = append(wide, vip)
			continue
		}
		key := decapDecapVip{V6: decapFamily(vip.Addr())}
		key.Address.Word = encodeAddress(vip.Addr()).Word
		keys[key] = decapDecapVipPortsPORTS_AS_THEY_ARE
	}
	return keys, withDecapValue(decapPrefixKeys(wide), decapDecapVipPortsPORTS_AS_THEY_ARE)
}

// decapPrefixKeys counts the trie's bits: 32 of the family, then the address's,
// of which an IPv4 address has 96 before its own.
func decapPrefixKeys(from []netip.Prefix) map[decapDecapPrefix]bool {
	keys := make(map[decapDecapPrefix]bool, len(from))
	for _, prefix := range from {
		prefix = prefix.Masked()
		bits := 32 + prefix.Bits()
		if prefix.Addr().Is4() {
			bits += 96
		}
		key := decapDecapPrefix{PrefixLength: uint32(bits), V6: decapFamily(prefix.Addr())}
		key.Address.Word = encodeAddress(prefix.Addr()).Word
		keys[key] = true
	}
	return keys
}

func withDecapValue[K comparable, V any](keys map[K]bool, value V) map[K]V {
	entries := make(map[K]V, len(keys))
	for key := range keys {
		entries[key] = value
	}
	return entries
}

func putDecapKeys[K comparable, V any](m *ebpf.Map, entries map[K]V) error {
	for key, value := range entries {
		if err := m.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}

// keepDecapKeys deletes all other keys. They are collected first: deleting
// while iterating may start the iteration again.
func keepDecapKeys[K comparable, V any](m *ebpf.Map, wanted map[K]V) error {
	var (
		stale   []K
		key     K
		present V
	)
	entries := m.Iterate()
	for entries.Next(&key, &present) {
		if _, keep := wanted[key]; !keep {
			stale = append(stale, key)
		}
	}
	if err := entries.Err(); err != nil {
		return err
	}
	for _, key := range stale {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}
