package kernel

import (
	"fmt"
	"iter"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/pointsman/pointsman/dataplane"
)

// connections is the memory of the table of nat's connections.
type connections struct {
	tags    []uint64
	entries []lbConnection
}

func (m *mapped) openConnections(maps *lbMaps) error {
	tags, err := m.region(maps.ConnectionTags)
	if err != nil {
		return err
	}
	entries, err := m.region(maps.Connections)
	if err != nil {
		return err
	}
	m.connections.tags = words[uint64](tags)
	size := int(unsafe.Sizeof(lbConnection{}))
	m.connections.entries = unsafe.Slice((*lbConnection)(unsafe.Pointer(unsafe.SliceData(entries))), len(entries)/size)
	return nil
}

// The layout of a tag, as bpf/nat_types.h describes it; a test reads what the program
// has written.
const (
	tagExpiryBits     = 32
	tagStateBits      = 4
	tagGenerationBits = 8
	tagLifeBits       = tagExpiryBits + tagStateBits
)

func tagState(tag uint64) lbConnectionState {
	return lbConnectionState(tag >> tagExpiryBits & (1<<tagStateBits - 1))
}

// tagLives tells whether the connection of a tag is not over.
func tagLives(tag uint64, second uint32) bool {
	return tagState(tag) != lbConnectionStateCONNECTION_FREE && int32(uint32(tag)-second) >= 0
}

// readBarrier keeps loads before it before those after it, as read_barrier of
// bpf/barrier.h. An atomic load only does so with what comes after it.
func readBarrier() {
	var nothing atomic.Uint32
	nothing.Add(0)
}

// Connections are those of nat that are not over at a second of the monotonic
// clock. The program goes on meanwhile; each is whole.
func (d *DataPlane) Connections(second uint32) iter.Seq[dataplane.Connection] {
	return func(yield func(dataplane.Connection) bool) {
		table := d.mapped.connections
		for i := range table.tags {
			tag := atomic.LoadUint64(&table.tags[i])
			if !tagLives(tag, second) || tagState(tag) == lbConnectionStateCONNECTION_CLAIMED {
				continue
			}
			entry := table.entries[i]
			readBarrier()
			if atomic.LoadUint64(&table.tags[i])>>tagLifeBits != tag>>tagLifeBits {
				continue // another one has taken its place
			}
			if !yield(decodeConnection(entry, tag)) {
				return
			}
		}
	}
}

// ConnectionsByBackend counts the connections that are not over, by the index of
// their backend: as long as one names it, an index is not free.
func (d *DataPlane) ConnectionsByBackend(second uint32) map[uint32]int {
	counts := make(map[uint32]int)
	for connection := range d.Connections(second) {
		counts[connection.Index]++
	}
	return counts
}

func decodeConnection(entry lbConnection, tag uint64) dataplane.Connection {
	state := tagState(tag)
	end := func(address lbAddress, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(decodeAddress(address), decodePort(port))
	}
	return dataplane.Connection{
		Protocol: dataplane.Protocol(entry.Protocol),
		Client:   end(entry.Client, entry.ClientPort),
		VIP:      end(entry.Vip, entry.VipPort),
		Source:   end(entry.Source, entry.SourcePort),
		Backend:  end(entry.BackendAddress, entry.BackendPort),
		Index:    entry.Backend,
		State:    connectionStates[state],
		HalfOpen: state <= lbConnectionStateCONNECTION_ANSWERED,
		Closed:   state >= lbConnectionStateCONNECTION_LAST_ACK,
		Retired:  state == lbConnectionStateCONNECTION_RETIRED,
		Begun:    entry.Begun,
		Expires:  uint32(tag) + 1,
	}
}

// connectionStates are the names that people see.
var connectionStates = func() (names [1 << tagStateBits]string) {
	for state, name := range map[lbConnectionState]string{
		lbConnectionStateCONNECTION_SYN:           "syn",
		lbConnectionStateCONNECTION_SYN_ACK:       "syn-ack",
		lbConnectionStateCONNECTION_ONE_WAY:       "one-way",
		lbConnectionStateCONNECTION_ANSWERED:      "answered",
		lbConnectionStateCONNECTION_ESTABLISHED:   "established",
		lbConnectionStateCONNECTION_STREAM:        "stream",
		lbConnectionStateCONNECTION_FIN_CLIENT:    "fin-client",
		lbConnectionStateCONNECTION_FIN_BACKEND:   "fin-backend",
		lbConnectionStateCONNECTION_LAST_ACK:      "last-ack",
		lbConnectionStateCONNECTION_TIME_WAIT:     "time-wait",
		lbConnectionStateCONNECTION_RESET_CLIENT:  "reset-client",
		lbConnectionStateCONNECTION_RESET_BACKEND: "reset-backend",
		lbConnectionStateCONNECTION_RETIRED:       "retired",
	} {
		names[state] = name
	}
	return names
}()

func encodeNAT(settings dataplane.NATSettings) (lbNatSettings, error) {
	if err := settings.Check(); err != nil {
		return lbNatSettings{}, fmt.Errorf("settings of nat: %w", err)
	}
	encoded := lbNatSettings{FirstPort: uint32(settings.FirstPort), PortCount: uint32(settings.Ports)}
	for _, source := range settings.Sources {
		if source.Is4() {
			encoded.SourcesV4[encoded.SourcesV4Count] = encodeAddress(source)
			encoded.SourcesV4Count++
		} else {
			encoded.SourcesV6[encoded.SourcesV6Count] = encodeAddress(source)
			encoded.SourcesV6Count++
		}
	}
	for field, states := range natTimeouts(&settings.Timeouts) {
		for _, state := range states {
			encoded.Seconds[state] = *field
		}
	}
	return encoded, nil
}

func decodeNAT(encoded lbNatSettings) dataplane.NATSettings {
	settings := dataplane.NATSettings{FirstPort: uint16(encoded.FirstPort), Ports: uint16(encoded.PortCount)}
	for _, source := range encoded.SourcesV4[:min(encoded.SourcesV4Count, dataplane.MaxNATSources)] {
		settings.Sources = append(settings.Sources, decodeAddress(source))
	}
	for _, source := range encoded.SourcesV6[:min(encoded.SourcesV6Count, dataplane.MaxNATSources)] {
		settings.Sources = append(settings.Sources, decodeAddress(source))
	}
	for field, states := range natTimeouts(&settings.Timeouts) {
		*field = encoded.Seconds[states[0]]
	}
	return settings
}

// natTimeouts says in which states each timeout counts.
func natTimeouts(t *dataplane.NATTimeouts) map[*uint32][]lbConnectionState {
	return map[*uint32][]lbConnectionState{
		&t.SYN:         {lbConnectionStateCONNECTION_SYN, lbConnectionStateCONNECTION_SYN_ACK},
		&t.FirstAnswer: {lbConnectionStateCONNECTION_ONE_WAY, lbConnectionStateCONNECTION_ANSWERED},
		&t.Established: {lbConnectionStateCONNECTION_ESTABLISHED},
		&t.HalfClosed:  {lbConnectionStateCONNECTION_FIN_CLIENT, lbConnectionStateCONNECTION_FIN_BACKEND},
		&t.LastAck:     {lbConnectionStateCONNECTION_LAST_ACK},
		&t.TimeWait:    {lbConnectionStateCONNECTION_TIME_WAIT, lbConnectionStateCONNECTION_RETIRED},
		&t.Reset:       {lbConnectionStateCONNECTION_RESET_CLIENT, lbConnectionStateCONNECTION_RESET_BACKEND},
		&t.UDP:         {lbConnectionStateCONNECTION_STREAM},
	}
}
