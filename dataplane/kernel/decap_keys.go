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
func decapVIPKeys(vips []netip.Prefix) (map[decapDecapVip]bool, map[decapDecapPrefix]bool) {
	keys := make(map[decapDecapVip]bool, len(vips))
	var wide []netip.Prefix
	for _, vip := range vips {
		if !vip.IsSingleIP() {
			wide = append(wide, vip)
			continue
		}
		key := decapDecapVip{V6: decapFamily(vip.Addr())}
		key.Address.Word = encodeAddress(vip.Addr()).Word
		keys[key] = true
	}
	return keys, decapPrefixKeys(wide)
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

func putDecapKeys[K comparable](m *ebpf.Map, keys map[K]bool) error {
	for key := range keys {
		if err := m.Put(key, uint8(1)); err != nil {
			return err
		}
	}
	return nil
}

// keepDecapKeys deletes all other keys. They are collected first: deleting
// while iterating may start the iteration again.
func keepDecapKeys[K comparable](m *ebpf.Map, keys map[K]bool) error {
	var (
		stale   []K
		key     K
		present uint8
	)
	entries := m.Iterate()
	for entries.Next(&key, &present) {
		if !keys[key] {
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
