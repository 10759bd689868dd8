package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
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
	// Connections of nat that there can be at a time; rounded up to a power of two,
	// LeastConnections at least. Each takes 152 bytes.
	Connections uint32
	// Errors are the ICMP errors that each CPU may send in a second; 0 means
	// DefaultErrors.
	Errors uint32
	Log    *slog.Logger // tells of maps that are taken over; nil is silent
}

// DefaultErrors is as many as Linux sends itself (net.ipv4.icmp_msgs_per_sec),
// but for each CPU, because CPUs that share a counter wait for each other.
const DefaultErrors = 1000

// DataPlane is the program and its maps in the kernel. Its methods may not be
// called at the same time. Closing it leaves everything pinned and forwarding.
type DataPlane struct {
	pins         pins
	log          *slog.Logger
	objects      lbObjects
	wish         *ebpf.Map // the section of the program's variable capture_wish
	mapped       mapped
	exact        *exactVIPs
	heldMark     uint64    // of this program
	outcomes     []string  // names by number, from the program's BTF
	staged       bool      // new maps are pinned beside the old ones
	promoted     bool      // the maps are the ones under pins.maps()
	takeover     *takeover // until then, if other maps are in their place
	natAddresses natAddresses
	rows         rows
	links        map[string]link.Link // held, so that one whose pin is removed goes on

	// What the maps say of themselves, and until when drops are watched, as Mend
	// makes them again.
	layout    lbLayout
	typeNotes *lbMapTypes
	watching  watching
}

// Open loads the program. It adopts the maps that an earlier process pinned if
// they are laid out as today's and large enough. Else it makes new ones and
// carries over what the old ones hold; they take the old ones' place in Attach,
// once the caller has changed them as it likes.
func Open(options Options) (*DataPlane, error) {
	d := &DataPlane{pins: pins{dir: options.PinDir}, log: options.Log, links: make(map[string]link.Link)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if err := d.pins.prepare(options.Secret); err != nil {
		return nil, err
	}
	if err := d.open(options); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *DataPlane) open(options Options) error {
	spec, err := loadLb()
	if err != nil {
		return fmt.Errorf("reading the built-in program: %w", err)
	}
	size(spec, options)
	old, err := openPinned(d.pins.maps())
	if err != nil {
		return err
	}
	if old.isLater() {
		old.close()
		return d.pins.refuse(old)
	}
	mark := secretMark(options.Secret)
	d.promoted = old != nil && old.fit(spec, mark)
	replacements := make(map[string]*ebpf.Map)
	if old != nil {
		for name, t := range old.tables {
			if d.promoted || name == lbMapFlows && sharesFlows(old, spec.Maps[name], mark) ||
				isOfConnections(name) && sharesConnections(old, spec, mark) {
				replacements[name] = t.Map
			}
		}
	}
	if err := d.load(spec, replacements, options); err != nil {
		old.close()
		return err
	}
	if d.promoted {
		old.close()
		return errors.Join(d.followVIPs(options.Secret), d.readNotes(), d.readNATAddresses())
	}
	if err := noteTypes(d.objects.TypeNotes, spec); err != nil {
		old.close()
		return err
	}
	return errors.Join(d.takeOver(old, options.Secret), d.followVIPs(options.Secret), d.readNotes(), d.readNATAddresses())
}

// followVIPs makes places lead to what is in vips: the process before this one may
// have died between the two.
func (d *DataPlane) followVIPs(secret uint64) error {
	vips := make(map[lbVipKey]lbVip)
	err := each(d.objects.Vips, func(key lbVipKey, value lbVip) { vips[key] = value })
	if err != nil {
		return err
	}
	d.exact = newExactVIPs(secret, d.mapped.vipLines, d.mapped.vipEntries)
	d.exact.follow(vips)
	return nil
}

// readNotes takes what the maps say of themselves for right: they would not have
// been opened else.
func (d *DataPlane) readNotes() error {
	d.typeNotes = new(lbMapTypes)
	err := errors.Join(d.objects.Layouts.Lookup(uint32(0), &d.layout), d.objects.TypeNotes.Lookup(uint32(0), d.typeNotes))
	if err != nil {
		return fmt.Errorf("reading what the maps are laid out like: %w", err)
	}
	return nil
}

// load loads the program with maps of its own, but for those that are there.
func (d *DataPlane) load(spec *ebpf.CollectionSpec, replacements map[string]*ebpf.Map, options Options) error {
	d.heldMark = rand.Uint64()
	if err := spec.Variables[lbVarConfig].Set(settings(options, spec, d.heldMark)); err != nil {
		return fmt.Errorf("keying the flow hash: %w", err)
	}
	assigned := struct {
		*lbObjects
		Wish *ebpf.Map `ebpf:".data.capture"`
	}{lbObjects: &d.objects}
	err := spec.LoadAndAssign(&assigned, &ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return fmt.Errorf("loading the program: %w", explainLoad(err))
	}
	d.wish = assigned.Wish
	if err := d.mapped.open(&d.objects.lbMaps); err != nil {
		return err
	}
	if d.outcomes, err = outcomeNames(spec.Types); err != nil {
		return err
	}
	return d.findRows()
}

// takeOver signs the new maps, and fills them with what those of an earlier build
// hold, if there are any.
func (d *DataPlane) takeOver(old *generation, secret uint64) error {
	layout := lbLayout{Version: lbLayoutVersionLAYOUT_VERSION, Secret: secretMark(secret)}
	if err := d.objects.Layouts.Put(uint32(0), layout); err != nil {
		old.close()
		return fmt.Errorf("noting the layout of the maps: %w", err)
	}
	if old == nil {
		return nil
	}
	new, err := describe(d.maps())
	if err != nil {
		old.close()
		return err
	}
	d.takeover = newTakeover(old, new, secret)
	if err := d.takeover.copy(); err != nil {
		return fmt.Errorf("taking over the maps of an earlier build: %w", err)
	}
	d.log.Info("the maps of an earlier build are taken over", "layout", old.version, "to", new.version, "lost", cmp.Or(d.takeover.losses(), "nothing"))
	return nil
}

// maps are all that outlive the process, by name.
func (d *DataPlane) maps() map[string]*ebpf.Map {
	all := make(map[string]*ebpf.Map)
	fields := reflect.ValueOf(d.objects.lbMaps)
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Tag.Get("ebpf")
		if m, is := fields.Field(i).Interface().(*ebpf.Map); is && m != nil && isTable(name) {
			all[name] = m
		}
	}
	return all
}

// size gives the maps their sizes.
func size(spec *ebpf.CollectionSpec, options Options) {
	spec.Maps[lbMapVips].MaxEntries = options.Limits.VIPs
	spec.Maps[lbMapVipPlaces].MaxEntries = 1 << bits.Len32(lines(options.Limits.VIPs*placesPerVIP, placesPerLine)-1)
	spec.Maps[lbMapVipEntries].MaxEntries = 1 + options.Limits.VIPs + spareEntries
	spec.Maps[lbMapVipAddresses].MaxEntries = options.Limits.VIPs
	// A trie refuses to write over an entry when it is full; and of either kind
	// there may be those that were and those that will be, for a moment.
	spec.Maps[lbMapWidePrefixes].MaxEntries = options.Limits.VIPs + 1
	spec.Maps[lbMapWideVips].MaxEntries = options.Limits.VIPs + 1
	spec.Maps[lbMapQuicIds].MaxEntries = 2 * options.Limits.Backends
	spec.Maps[lbMapServices].MaxEntries = options.Limits.Services
	spec.Maps[lbMapServiceDrops].MaxEntries = options.Limits.Services
	spec.Maps[lbMapBackends].MaxEntries = options.Limits.Backends
	spec.Maps[lbMapBackendCounters].MaxEntries = options.Limits.Backends
	spec.Maps[lbMapNatBackends].MaxEntries = options.Limits.Backends
	spec.Maps[lbMapSlots].MaxEntries = lines(options.Slots, slotsPerLine)
	spec.Maps[lbMapConditions].MaxEntries = lines(options.Slots, conditionsPerLine)
	spec.Maps[lbMapFlows].MaxEntries = 1 << bits.Len32(lines(options.Flows, dataplane.FlowsPerBucket)-1)
	connections := lines(max(options.Connections, LeastConnections), tagsPerLine)
	spec.Maps[lbMapConnectionTags].MaxEntries = 1 << bits.Len32(connections-1)
	spec.Maps[lbMapConnections].MaxEntries = spec.Maps[lbMapConnectionTags].MaxEntries * tagsPerLine
	spec.Maps[lbMapConnectionReplies].MaxEntries = spec.Maps[lbMapConnectionTags].MaxEntries * replyLinesPerTagLine
}

// LeastConnections is the size of the table of connections where nobody needs it.
const LeastConnections = 64

// replyLinesPerTagLine is how many lines of ports there are for a line of tags: at
// least half of all places stay free, so that a port is found at the first try.
const replyLinesPerTagLine = 2

// lines is how many values of an array map hold a number of things.
func lines(things, perLine uint32) uint32 { return max(1, (things+perLine-1)/perLine) }

const (
	slotsPerLine      = uint32(len(lbSlotLine{}.Owner))
	conditionsPerLine = uint32(len(lbConditionLine{}.Slot))
	tagsPerLine       = uint32(len(lbTagLine{}.Tag))
)

func settings(options Options, spec *ebpf.CollectionSpec, mark uint64) lbSettings {
	hash := dataplane.NewHash(options.Secret)
	return lbSettings{
		HashKey:    hash.Key,
		HashSeed:   hash.SlotSeed,
		FlowSeed:   hash.FlowSeed,
		VipMask:    spec.Maps[lbMapVipPlaces].MaxEntries*placesPerLine - 1,
		BucketMask: spec.Maps[lbMapFlows].MaxEntries - 1,

		ConnectionMask: spec.Maps[lbMapConnectionTags].MaxEntries - 1,
		ReplyMask:      spec.Maps[lbMapConnectionReplies].MaxEntries - 1,

		HeldMark:        mark,
		ErrorsPerSecond: cmp.Or(options.Errors, DefaultErrors),
		WeaklyOrdered:   uint32(one(weaklyOrdered)),
	}
}

// weaklyOrdered machines may change the order of loads. Those that are not named
// are taken for such: it is the safe side. A variable for the sake of tests.
var weaklyOrdered = runtime.GOARCH != "amd64"

// outcomeNames reads enum outcome, so that what operators see cannot drift from
// what the program counts.
func outcomeNames(types *btf.Spec) ([]string, error) {
	var enum *btf.Enum
	if err := types.TypeByName("outcome", &enum); err != nil {
		return nil, fmt.Errorf("reading the outcomes' names: %w", err)
	}
	return enumerators(enum), nil
}

// Close lets go of the kernel's objects; what is pinned goes on without us.
// Tables read from d are void after it.
func (d *DataPlane) Close() error {
	var failures []error
	for _, held := range d.links {
		failures = append(failures, held.Close())
	}
	if d.takeover != nil {
		d.takeover.from.close()
	}
	return errors.Join(append(failures, d.mapped.close(), d.wish.Close(), d.objects.Close())...)
}

func closeMaps(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		m.Close()
	}
}

// explainLoad adds what an operator can do about the common refusals.
func explainLoad(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)", err)
	}
	return err
}
