package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// DecapMode says how the decapsulating program is to be attached.
type DecapMode string

// DecapAuto tries the others from the fastest to the slowest. DecapXDP is
// native XDP, DecapGeneric XDP on socket buffers, DecapTC the classifier.
const (
	DecapAuto    DecapMode = "auto"
	DecapXDP     DecapMode = "xdp"
	DecapGeneric DecapMode = "generic"
	DecapTC      DecapMode = "tc"
)

// DecapOptions says what a backend decapsulates: packets for one of VIPs, in a
// tunnel from an address in one of From, that arrive on Interface.
type DecapOptions struct {
	Interface string
	Mode      DecapMode // "" is DecapAuto
	VIPs      []netip.Prefix
	From      []netip.Prefix
	Ports     []DecapPort // of VIPs that are single addresses
	Out       []string    // interfaces that answers leave by; without Ports they do not matter
	PinDir    string      // on a BPF filesystem; what is pinned goes under decap/<interface>
}

// DecapAttachment says how the program was attached. Reason tells why not in a
// faster mode, Limit what cannot work in this one; both may be "".
type DecapAttachment struct {
	Interface string
	Mode      string // "native", "generic" or "tc"
	Reason    string
	Limit     string
	Out       []string // where answers' ports are mapped back
}

// OpenDecap attaches the decapsulating program, or brings an attached one up to
// date without a moment in which packets are not decapsulated. It stays
// attached when the process ends, until CloseDecap.
func OpenDecap(o DecapOptions) (DecapAttachment, error) {
	if err := o.check(); err != nil {
		return DecapAttachment{}, err
	}
	iface, err := net.InterfaceByName(o.Interface)
	if err != nil {
		return DecapAttachment{}, fmt.Errorf("looking up interface %s: %w", o.Interface, err)
	}
	dir, made, err := makeDecapDir(o.PinDir, o.Interface)
	if err != nil {
		return DecapAttachment{}, err
	}

	attachment, err := openDecapIn(dir, iface.Index, o)
	if err != nil && made {
		_, undo := removeDecap(dir, iface.Index)
		return DecapAttachment{}, errors.Join(err, undo)
	}
	return attachment, err
}

func (o DecapOptions) check() error {
	if _, known := decapModes[o.Mode]; !known {
		return fmt.Errorf("attaching to %s: unknown mode %q", o.Interface, o.Mode)
	}
	if len(o.VIPs) == 0 || len(o.From) == 0 {
		return fmt.Errorf("attaching to %s: at least one VIP and one prefix of balancers are needed", o.Interface)
	}
	return nil
}

// out are the interfaces of the way out, as far as they are needed.
func (o DecapOptions) out() []string {
	if len(o.Ports) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(o.Out)))
}

// openDecapIn keeps an order: what is new becomes known before the program that
// reads it is attached or swapped, the way out before the way in, and what is
// old is forgotten last, so that no packet that was and is wanted meets a gap.
func openDecapIn(dir string, ifindex int, o DecapOptions) (DecapAttachment, error) {
	objs, err := loadDecapPinned(dir)
	if err != nil {
		return DecapAttachment{}, fmt.Errorf("loading the decapsulating program: %w", err)
	}
	defer objs.Close()

	tables, out := o.tables(), o.out()
	if err := tables.putPorts(objs); err != nil {
		return DecapAttachment{}, fmt.Errorf("attaching to %s: %w", o.Interface, err)
	}
	if err := attachDecapOut(dir, ifindex, out, objs); err != nil {
		return DecapAttachment{}, err
	}
	if err := tables.putAddresses(objs); err != nil {
		return DecapAttachment{}, fmt.Errorf("attaching to %s: %w", o.Interface, err)
	}
	mode, refused, err := attachDecap(dir, ifindex, objs, o.Mode)
	if err != nil {
		return DecapAttachment{}, fmt.Errorf("attaching to %s: %w", o.Interface, err)
	}
	if err := tables.keep(objs); err != nil {
		return DecapAttachment{}, fmt.Errorf("bringing %s up to date: %w", o.Interface, err)
	}
	if _, err := detachDecapOut(dir, ifindex, out); err != nil {
		return DecapAttachment{}, err
	}
	return DecapAttachment{
		Interface: o.Interface,
		Mode:      mode,
		Reason:    strings.Join(refused, "; "),
		Limit:     decapLimit(mode),
		Out:       out,
	}, nil
}

// loadDecapPinned adopts the pinned maps. One that an older version left with
// another layout is replaced; the program that is swapped in brings the new one.
func loadDecapPinned(dir string) (*decapObjects, error) {
	spec, err := loadDecap()
	if err != nil {
		return nil, err
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinByName
	}
	options := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}}
	objs := new(decapObjects)
	err = spec.LoadAndAssign(objs, options)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		if err := removeDecapMaps(dir); err != nil {
			return nil, err
		}
		err = spec.LoadAndAssign(objs, options)
	}
	return objs, err
}

// decapLimit is what BPF_F_ADJ_ROOM_DECAP_L3_* of Linux 6.3 is needed for.
func decapLimit(mode string) string {
	version, err := features.LinuxVersionCode()
	if mode != decapTC || err != nil || version >= 6<<16|3<<8 {
		return ""
	}
	return "before Linux 6.3, tc cannot decapsulate IPv4 from IPv6 or IPv6 from IPv4: such packets are dropped as DROP_CANNOT_STRIP"
}

// CloseDecap undoes OpenDecap and says what it removed: nothing where nothing was.
func CloseDecap(pinDir, iface string) ([]string, error) {
	dir := decapDir(pinDir, iface)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	ifindex := 0 // an interface that is gone took its program along; the pins remain
	if found, err := net.InterfaceByName(iface); err == nil {
		ifindex = found.Index
	}
	removed, err := removeDecap(dir, ifindex)
	if err != nil {
		return removed, fmt.Errorf("detaching from %s: %w", iface, err)
	}
	return removed, nil
}

// DecapCounters reads how many frames had which outcome, by the names of enum
// decap_outcome, since the program was first attached.
func DecapCounters(pinDir, iface string) (map[string]uint64, error) {
	spec, err := loadDecap()
	if err != nil {
		return nil, err
	}
	path := decapDir(pinDir, iface) + "/" + decapMapDecapCounters
	counters, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("opening the counters of %s: %w", iface, err)
	}
	defer counters.Close()
	return readDecapCounters(spec, counters)
}

// readDecapCounters takes the names from the program's own BTF, so that they
// cannot drift.
func readDecapCounters(spec *ebpf.CollectionSpec, counters *ebpf.Map) (map[string]uint64, error) {
	var outcomes *btf.Enum
	if err := spec.Types.TypeByName("decap_outcome", &outcomes); err != nil {
		return nil, fmt.Errorf("reading the names of the outcomes: %w", err)
	}
	sums := make(map[string]uint64, len(outcomes.Values))
	for _, outcome := range outcomes.Values {
		var perCPU []uint64
		if err := counters.Lookup(uint32(outcome.Value), &perCPU); err != nil {
			return nil, fmt.Errorf("reading the counter %s: %w", outcome.Name, err)
		}
		for _, n := range perCPU {
			sums[outcome.Name] += n
		}
	}
	return sums, nil
}
