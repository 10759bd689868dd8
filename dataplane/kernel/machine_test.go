package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// machine carries out a program's instructions one by one in Go and counts them,
// so that what a packet costs can be said exactly and is the same everywhere: on
// no kernel, without root, whatever else the CPU does. It knows the instructions
// and helpers that the shipped program uses, and refuses all others. Its maps are
// in machine_maps_test.go, and BPF_PROG_TEST_RUN is held to give the same packets.
type machine struct {
	code    []*asm.Instruction // by the offset that jumps count in; nil is the second half of a wide one
	starts  map[string]int     // of functions
	regions []*region          // by the upper half of an address
	maps    map[string]*memoryMap
	numbers map[uint64]string // of maps, as the program holds them in registers
	packet  *region
	ingress uint32
	ns      uint64 // of the clock
	reg     [11]uint64
	cost    cost
}

// region is memory: the packet, a stack, a map's values.
type region struct {
	bytes []byte
	of    string // the map; "" is none
}

// cost is what one packet took.
type cost struct {
	instructions int
	calls        []string // of helpers, with the map; in order
	lines        map[string]map[uint64]bool
}

const (
	contextRegion = 1
	cacheLine     = 64
	stackSize     = 512
)

func newMachine(code asm.Instructions) *machine {
	m := &machine{
		starts: make(map[string]int), maps: make(map[string]*memoryMap), numbers: make(map[uint64]string),
		regions: []*region{nil, {}},
	}
	for i := range code {
		if name := code[i].Symbol(); name != "" {
			m.starts[name] = len(m.code)
		}
		m.code = append(m.code, &code[i])
		for range code[i].Size()/asm.InstructionSize - 1 {
			m.code = append(m.code, nil)
		}
	}
	return m
}

// grow makes a region of so many bytes and returns its address.
func (m *machine) grow(size int, of string) uint64 {
	m.regions = append(m.regions, &region{make([]byte, size), of})
	return uint64(len(m.regions)-1) << 32
}

// ignorance is why the machine cannot go on.
type ignorance string

func (m *machine) refuse(format string, args ...any) { panic(ignorance(fmt.Sprintf(format, args...))) }

// run sends a frame through the program and returns its verdict.
func (m *machine) run(frame []byte) (verdict uint32, err error) {
	const headroom = 256
	defer func() {
		if why, refused := recover().(ignorance); refused {
			err = fmt.Errorf("%s", why)
		}
	}()
	kept := len(m.regions)
	defer func() { m.regions = m.regions[:kept] }()
	m.cost = cost{lines: make(map[string]map[uint64]bool)}
	base := m.grow(headroom+len(frame), "")
	m.packet = m.regions[len(m.regions)-1]
	copy(m.packet.bytes[headroom:], frame)
	m.regions[contextRegion].bytes = binary.LittleEndian.AppendUint64(nil, base+headroom)
	m.reg = [11]uint64{1: contextRegion << 32}
	m.call(0)
	return uint32(m.reg[0]), nil
}

// frame is the packet as the program left it.
func (m *machine) frame() []byte { return m.packet.bytes[uint32(m.dataAt()):] }

// dataAt is where the packet begins; it ends where its region does.
func (m *machine) dataAt() uint64 { return binary.LittleEndian.Uint64(m.regions[contextRegion].bytes) }

// call runs a function on a stack of its own.
func (m *machine) call(at int) {
	m.reg[10] = m.grow(stackSize, "") + stackSize
	for {
		if at < 0 || at >= len(m.code) || m.code[at] == nil {
			m.refuse("there is no instruction %d", at)
		}
		ins := m.code[at]
		m.cost.instructions++
		at += int(ins.Size() / asm.InstructionSize)
		switch ins.OpCode.Class() {
		case asm.ALUClass, asm.ALU64Class:
			m.calculate(ins)
		case asm.LdClass:
			m.reg[ins.Dst] = m.constant(ins)
		case asm.LdXClass:
			m.reg[ins.Dst] = m.load(m.reg[ins.Src]+uint64(ins.Offset), ins.OpCode.Size().Sizeof())
		case asm.StClass:
			m.store(m.reg[ins.Dst]+uint64(ins.Offset), uint64(ins.Constant), ins.OpCode.Size().Sizeof())
		case asm.StXClass:
			m.storeRegister(ins)
		default:
			switch {
			case ins.OpCode.JumpOp() == asm.Exit:
				return
			case ins.IsFunctionCall():
				kept := m.reg
				m.call(m.starts[ins.Reference()])
				copy(m.reg[6:], kept[6:])
			case ins.OpCode.JumpOp() == asm.Call:
				m.reg[0] = m.help(asm.BuiltinFunc(ins.Constant))
			case m.jumps(ins):
				at += int(ins.Offset)
			}
		}
	}
}

// constant is what a wide load loads: a number, a map, or the address of a variable.
func (m *machine) constant(ins *asm.Instruction) uint64 {
	if !ins.IsLoadFromMap() {
		return uint64(ins.Constant)
	}
	held, known := m.maps[ins.Reference()]
	if !known {
		m.refuse("there is no map %s", ins.Reference())
	}
	if ins.Src == asm.PseudoMapValue {
		return held.values + uint64(ins.Constant)>>32
	}
	return held.number
}

func (m *machine) storeRegister(ins *asm.Instruction) {
	at, size := m.reg[ins.Dst]+uint64(ins.Offset), ins.OpCode.Size().Sizeof()
	switch {
	case ins.OpCode.Mode() == asm.MemMode:
		m.store(at, m.reg[ins.Src], size)
	case ins.OpCode.AtomicOp() == asm.CmpXchg:
		was := m.load(at, size)
		if was == m.reg[0] {
			m.store(at, m.reg[ins.Src], size)
		}
		m.reg[0] = was
	default:
		m.refuse("%v is not known", ins)
	}
}

// operand is the second of an operation or a comparison.
func (m *machine) operand(ins *asm.Instruction) uint64 {
	if ins.OpCode.Source() == asm.RegSource {
		return m.reg[ins.Src]
	}
	return uint64(ins.Constant)
}

func (m *machine) jumps(ins *asm.Instruction) bool {
	a, b := m.reg[ins.Dst], m.operand(ins)
	sa, sb := int64(a), int64(b)
	if ins.OpCode.Class() == asm.Jump32Class {
		a, b = uint64(uint32(a)), uint64(uint32(b))
		sa, sb = int64(int32(a)), int64(int32(b))
	}
	switch ins.OpCode.JumpOp() {
	case asm.Ja:
		return true
	case asm.JEq:
		return a == b
	case asm.JNE:
		return a != b
	case asm.JGT:
		return a > b
	case asm.JGE:
		return a >= b
	case asm.JLT:
		return a < b
	case asm.JLE:
		return a <= b
	case asm.JSet:
		return a&b != 0
	case asm.JSGT:
		return sa > sb
	case asm.JSGE:
		return sa >= sb
	case asm.JSLT:
		return sa < sb
	case asm.JSLE:
		return sa <= sb
	}
	m.refuse("%v is not known", ins)
	return false
}

func (m *machine) calculate(ins *asm.Instruction) {
	if ins.OpCode.ALUOp() == asm.Swap {
		m.reg[ins.Dst] = swap(m.reg[ins.Dst], ins.Constant, ins.OpCode.Endianness() == asm.BE)
		return
	}
	a, b, width := m.reg[ins.Dst], m.operand(ins), uint64(64)
	if ins.OpCode.Class() == asm.ALUClass {
		a, b, width = uint64(uint32(a)), uint64(uint32(b)), 32
	}
	switch ins.OpCode.ALUOp() {
	case asm.Mov:
		a = b
	case asm.Add:
		a += b
	case asm.Sub:
		a -= b
	case asm.Mul:
		a *= b
	case asm.Div:
		if b == 0 {
			a = 0
		} else {
			a /= b
		}
	case asm.Mod:
		if b != 0 {
			a %= b
		}
	case asm.And:
		a &= b
	case asm.Or:
		a |= b
	case asm.Xor:
		a ^= b
	case asm.LSh:
		a <<= b % width
	case asm.RSh:
		a >>= b % width
	case asm.ArSh:
		a = uint64(int64(a<<(64-width)) >> (64 - width) >> (b % width))
	case asm.Neg:
		a = -a
	default:
		m.refuse("%v is not known", ins)
	}
	if width == 32 {
		a = uint64(uint32(a))
	}
	m.reg[ins.Dst] = a
}

// swap is a register as the network has it, or cut to as many bits.
func swap(value uint64, bits int64, toNetwork bool) uint64 {
	bytes := binary.LittleEndian.AppendUint64(nil, value)[:bits/8]
	var number uint64
	for i, b := range bytes {
		if toNetwork {
			number = number<<8 | uint64(b)
		} else {
			number |= uint64(b) << (8 * i)
		}
	}
	return number
}
