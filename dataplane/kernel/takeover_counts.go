package kernel

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/dataplane"
)

// carryCounts adds what the old program has counted to what the new one has, by
// name where numbers may have changed, and takes it away there: so it is added
// once, also when this is done again.
func (t *takeover) carryCounts() error {
	return errors.Join(
		t.carryMap(lbMapOutcomes, byName(t.from.outcomes, t.to.outcomes), asTheyAre),
		t.carryMap(lbMapFlowEvents, byName(t.from.events, t.to.events), asTheyAre),
		t.carryMap(lbMapBackendCounters, stays("backend"), asTheyAre),
		t.carryMap(lbMapServiceDrops, stays("the drops of service"), t.byOutcomeOf("a service")),
		t.carryRows(),
	)
}

// carryRows adds what came by an interface to its row, or to the outcomes of all that
// have none any more.
func (t *takeover) carryRows() error {
	return t.eachRow(func(old, ifindex uint32, sums []uint64) error {
		rows := t.to.tables[lbMapInterfaceOutcomes]
		row := ifindex % rows.MaxEntries()
		owner, _, err := countedIn(rows.Map, row)
		if err != nil {
			return err
		}
		if owner == ifindex {
			err = addOnce(rows.Map, row, append([]uint64{0}, sums...))
		} else {
			err = addAll(t.to.tables[lbMapOutcomes].Map, sums)
		}
		if err != nil {
			return fmt.Errorf("adding what came by interface %d: %w", ifindex, err)
		}
		from := t.from.tables[lbMapInterfaceOutcomes]
		return from.Put(old, zeros(from.Map))
	})
}

// eachRow visits the old rows, their sums as of the new outcomes.
func (t *takeover) eachRow(visit func(old, ifindex uint32, sums []uint64) error) error {
	return t.eachCount(lbMapInterfaceOutcomes, func(old uint32, sums []uint64) error {
		// The first word says whose it is, on every CPU.
		ifindex := uint32(sums[0] / uint64(ebpf.MustPossibleCPU()))
		return visit(old, ifindex, t.byOutcomeOf("an interface")(sums[1:]))
	})
}

func stays(kind string) place {
	return func(old uint32) (uint32, string, bool) { return old, fmt.Sprintf("%s %d", kind, old), true }
}

func asTheyAre(sums []uint64) []uint64 { return sums }

// byOutcomeOf puts sums by the old program's outcomes to where the new one has these.
func (t *takeover) byOutcomeOf(whose string) func(sums []uint64) []uint64 {
	return func(sums []uint64) []uint64 {
		to, moved := byName(t.from.outcomes, t.to.outcomes), make([]uint64, len(sums))
		for old, sum := range sums {
			now, name, known := to(uint32(old))
			if known {
				moved[now] += sum
			} else if sum > 0 {
				t.lost[fmt.Sprintf("the counter %s of %s (%d)", name, whose, sum)]++
			}
		}
		return moved
	}
}

// place is where in the new map a counter goes, and how it is called.
type place func(old uint32) (now uint32, name string, known bool)

func byName(from, to []string) place {
	numbers := make(map[string]uint32)
	for number, name := range to {
		if name != "" {
			numbers[name] = uint32(number)
		}
	}
	return func(old uint32) (uint32, string, bool) {
		if int(old) >= len(from) {
			return 0, fmt.Sprintf("number %d", old), false
		}
		now, known := numbers[from[old]]
		return now, from[old], known
	}
}

// eachCount visits the old counters that are not zero, as values of the new layout.
func (t *takeover) eachCount(name string, visit func(old uint32, sums []uint64) error) error {
	to, is := t.to.tables[name]
	from, was := t.from.tables[name]
	if !is || !was {
		return nil
	}
	c, err := newConversion(to.value, from.value, int(to.ValueSize()), int(from.ValueSize()))
	if err != nil {
		t.lost[fmt.Sprintf("%s (%v)", name, err)]++
		return nil
	}
	var perCPU [][]byte
	for index := range from.MaxEntries() {
		if err := from.Lookup(index, &perCPU); err != nil {
			return fmt.Errorf("reading counter %d of %s: %w", index, from, err)
		}
		sums := make([]uint64, to.ValueSize()/8)
		for _, bytes := range perCPU {
			value := make([]uint64, len(sums))
			c.convert(bytesOf(value), bytes[:from.ValueSize()])
			for i := range sums {
				sums[i] += value[i]
			}
		}
		if isZero(bytesOf(sums)) {
			continue
		}
		if err := visit(index, sums); err != nil {
			return err
		}
	}
	return nil
}

// addTo adds what the old program has counted so far to what the new one has.
func (t *takeover) addTo(counters *dataplane.Counters) error {
	outcomes := byName(t.from.outcomes, t.to.outcomes)
	events := map[string]*uint64{"FLOW_INSERTED": &counters.Flows.Inserted, "FLOW_EVICTED": &counters.Flows.Evicted, "FLOW_REFUSED": &counters.Flows.Refused}
	return errors.Join(
		t.eachCount(lbMapOutcomes, func(old uint32, sums []uint64) error {
			if _, name, known := outcomes(old); known {
				counters.Outcomes[name] += sums[0]
			}
			return nil
		}),
		t.eachCount(lbMapFlowEvents, func(old uint32, sums []uint64) error {
			if int(old) < len(t.from.events) && events[t.from.events[old]] != nil {
				*events[t.from.events[old]] += sums[0]
			}
			return nil
		}),
		t.eachCount(lbMapBackendCounters, func(index uint32, sums []uint64) error {
			count := (*lbBackendCount)(unsafe.Pointer(unsafe.SliceData(sums)))
			sum := counters.Backends[index]
			sum.Packets += count.Packets
			sum.Bytes += count.Bytes
			sum.NewFlows += count.NewFlows
			counters.Backends[index] = sum
			counters.Outcomes["FORWARD"] += count.Packets
			return nil
		}),
		t.eachRow(func(_, ifindex uint32, sums []uint64) error {
			addRow(counters, ifindex, t.to.outcomes, sums)
			return nil
		}),
		t.eachCount(lbMapServiceDrops, func(id uint32, sums []uint64) error {
			for number, sum := range t.byOutcomeOf("a service")(sums) {
				if dropped := counters.Dropped[id]; dropped != nil && sum > 0 {
					dropped[t.to.outcomes[number]] += sum
				}
			}
			return nil
		}),
	)
}

func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}

func (t *takeover) carryMap(name string, to place, arranged func(sums []uint64) []uint64) error {
	var add *adder
	err := t.eachCount(name, func(old uint32, sums []uint64) (err error) {
		now, called, known := to(old)
		from := t.from.tables[name]
		if !known || now >= t.to.tables[name].MaxEntries() {
			t.lost[fmt.Sprintf("the counter %s (%d)", called, sums[0])]++
		} else {
			if add == nil {
				if add, err = newAdder(t.to.tables[name].Map); err != nil {
					return err
				}
			}
			if err := add.add(now, arranged(sums)); err != nil {
				return fmt.Errorf("adding to %s: %w", called, err)
			}
		}
		return from.Put(old, zeros(from.Map))
	})
	if add != nil {
		err = errors.Join(err, add.program.Close())
	}
	return err
}

// zeros is a value for every CPU.
func zeros(m *ebpf.Map) [][]byte {
	all := make([][]byte, ebpf.MustPossibleCPU())
	for cpu := range all {
		all[cpu] = make([]byte, m.ValueSize())
	}
	return all
}

// adder adds to a counter of this CPU while programs count there. From user space,
// a value can only be replaced, on all CPUs at once, and what is counted in the
// meantime would be lost.
type adder struct {
	program *ebpf.Program
	words   int
}

// The packet that it is run with holds the number of the counter and, from
// addendsAt, what to add to each of its words.
const (
	addendsAt     = 8
	smallestFrame = 64
)

func newAdder(counters *ebpf.Map) (*adder, error) {
	words := int(counters.ValueSize() / 8)
	size := int32(max(smallestFrame, addendsAt+8*words))
	code := asm.Instructions{
		asm.Mov.Imm(asm.R0, notAdded),
		asm.LoadMem(asm.R6, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R7, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R2, asm.R6),
		asm.Add.Imm(asm.R2, size),
		asm.JGT.Reg(asm.R2, asm.R7, "end"),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.StoreMem(asm.RFP, -4, asm.R2, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counters.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
	}
	for word := range words {
		at := int16(8 * word)
		code = append(code,
			asm.LoadMem(asm.R1, asm.R6, addendsAt+at, asm.DWord),
			// One instruction, so that no packet is counted between a load and a store.
			asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, at),
		)
	}
	code = append(code, asm.Mov.Imm(asm.R0, added), asm.Return().WithSymbol("end"))
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "add", Type: ebpf.XDP, Instructions: code, License: "Dual BSD/GPL"})
	if err != nil {
		return nil, fmt.Errorf("loading the program that adds counters: %w", err)
	}
	return &adder{program, words}, nil
}

// What it returns.
const (
	notAdded = 0
	added    = 1
)

// addOnce adds to one counter of a map.
func addOnce(counters *ebpf.Map, number uint32, sums []uint64) error {
	add, err := newAdder(counters)
	if err != nil {
		return err
	}
	return errors.Join(add.add(number, sums), add.program.Close())
}

// addAll adds sums to the counters of a map, of which each has its number.
func addAll(counters *ebpf.Map, sums []uint64) error {
	add, err := newAdder(counters)
	if err != nil {
		return err
	}
	for number, sum := range sums {
		if sum > 0 {
			err = errors.Join(err, add.add(uint32(number), []uint64{sum}))
		}
	}
	return errors.Join(err, add.program.Close())
}

func (a *adder) add(number uint32, sums []uint64) error {
	frame := make([]uint64, max(smallestFrame/8, addendsAt/8+a.words))
	frame[0] = uint64(number)
	copy(frame[addendsAt/8:], sums)
	done, err := a.program.Run(&ebpf.RunOptions{Data: bytesOf(frame)})
	if err != nil {
		return err
	}
	if done == notAdded {
		return errors.New("there is no such counter")
	}
	return nil
}
