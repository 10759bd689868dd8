package earlier

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// Options say where the data plane lives and how large it is.
type Options struct {
	PinDir string // on a BPF file system, such as /sys/fs/bpf/pointsman
	Secret uint64 // keys the flow hash; the same on all balancers of a fleet
	Limits dataplane.Limits
	Slots  uint32 // slots of all services together; rounded up to a full line
	Flows  uint32 // flows that can be remembered; rounded up to a power of two
}

// DataPlane is the program and its maps in the kernel. Its methods may not be
// called at the same time. Closing it leaves everything pinned and forwarding.
type DataPlane struct {
	pins     pins
	objects  lbObjects
	mapped   mapped
	outcomes []string // names by number, from the program's BTF
	promoted bool     // the maps are the ones under pins.maps()
}

// Open loads the program with maps of its own.
func Open(options Options) (*DataPlane, error) {
	pins := pins{options.PinDir}
	if err := pins.prepare(); err != nil {
		return nil, err
	}
	spec, err := loadLb()
	if err != nil {
		return nil, fmt.Errorf("reading the built-in program: %w", err)
	}
	size(spec, options)
	buckets := spec.Maps[lbMapFlows].MaxEntries
	if err := spec.Variables[lbVarConfig].Set(settings(options.Secret, buckets)); err != nil {
		return nil, fmt.Errorf("keying the flow hash: %w", err)
	}

	d := &DataPlane{pins: pins}
	err = spec.LoadAndAssign(&d.objects, &ebpf.CollectionOptions{})
	if err != nil {
		return nil, fmt.Errorf("loading the program: %w", explainLoad(err))
	}
	if err := d.mapped.open(&d.objects.lbMaps); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if d.outcomes, err = outcomeNames(spec.Types); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// size gives the maps their sizes.
func size(spec *ebpf.CollectionSpec, options Options) {
	spec.Maps[lbMapVips].MaxEntries = options.Limits.VIPs
	spec.Maps[lbMapServices].MaxEntries = options.Limits.Services
	spec.Maps[lbMapBackends].MaxEntries = options.Limits.Backends
	spec.Maps[lbMapBackendCounters].MaxEntries = options.Limits.Backends
	spec.Maps[lbMapSlots].MaxEntries = lines(options.Slots, slotsPerLine)
	spec.Maps[lbMapConditions].MaxEntries = lines(options.Slots, conditionsPerLine)
	spec.Maps[lbMapFlows].MaxEntries = 1 << bits.Len32(lines(options.Flows, dataplane.FlowsPerBucket)-1)
}

// lines is how many values of an array map hold a number of things.
func lines(things, perLine uint32) uint32 { return max(1, (things+perLine-1)/perLine) }

const (
	slotsPerLine      = uint32(len(lbSlotLine{}.Owner))
	conditionsPerLine = uint32(len(lbConditionLine{}.Slot))
)

func settings(secret uint64, buckets uint32) lbSettings {
	hash := dataplane.NewHash(secret)
	return lbSettings{
		HashKey:    hash.Key,
		HashSeed:   hash.SlotSeed,
		FlowSeed:   hash.FlowSeed,
		BucketMask: buckets - 1,
	}
}

// outcomeNames reads enum outcome, so that what operators see cannot drift from
// what the program counts.
func outcomeNames(types *btf.Spec) ([]string, error) {
	var enum *btf.Enum
	if err := types.TypeByName("outcome", &enum); err != nil {
		return nil, fmt.Errorf("reading the outcomes' names: %w", err)
	}
	names := make([]string, len(enum.Values))
	for _, value := range enum.Values {
		names[value.Value] = value.Name
	}
	return names, nil
}

// Close lets go of the kernel's objects; what is pinned goes on without us.
// Tables read from d are void after it.
func (d *DataPlane) Close() error {
	return errors.Join(d.mapped.close(), d.objects.Close())
}

// explainLoad adds what an operator can do about the common refusals.
func explainLoad(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)", err)
	}
	return err
}
