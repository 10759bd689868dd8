package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/packet"
)

// setMTUs gives the interface beside loopback one that answers do not always fit.
func setMTUs(t testing.TB, egress uint32) map[uint32]int {
	t.Helper()
	mtus := map[uint32]int{loopback: 0, egress: 0}
	for index := range mtus {
		link, err := netlink.LinkByIndex(int(index))
		if err == nil && index == egress {
			err = netlink.LinkSetMTU(link, 1300)
			link.Attrs().MTU = 1300
		}
		if err != nil {
			t.Fatal(err)
		}
		mtus[index] = link.Attrs().MTU
	}
	return mtus
}

// forgetConnections makes the table of nat empty.
func (c *court) forgetConnections() {
	table := &c.plane.mapped.connections
	clear(table.tags)
	clear(table.entries)
}

// connect puts connections into both tables that nobody has begun.
func (c *court) connect(connections []*oracle.Connection) error {
	table := &c.plane.mapped.connections
	replies := make([]lbReplyLine, c.plane.objects.ConnectionReplies.MaxEntries())
	for i, connection := range connections {
		if connection == nil {
			continue
		}
		own := c.oracle.Hold(i, *connection)
		entry := c.entryOf(own)
		entry.Reply = 1 << 30 // has no port
		if own.Source.IsValid() {
			place, digest := c.oracle.Connections.PortPlace(own.Backend, own.Source, own.Protocol)
			entry.Reply = uint32(place)
			replies[place/8].Reply[place%8] = uint64(digest)<<40 | uint64(i)
		}
		entry.Delta, entry.RequestPseudo, entry.ReplyPseudo = sumsOf(own)
		table.entries[i] = entry
		client := dataplane.VIP{Addr: own.VIP.Addr(), Port: own.VIP.Port(), Protocol: own.Protocol}
		digest := c.oracle.Hash.Flow(own.Client, client) >> 44
		table.tags[i] = digest<<44 | uint64(stateNumber(own.State))<<32 | uint64(own.Expires)
	}
	for line := range replies {
		if err := c.plane.objects.ConnectionReplies.Put(uint32(line), replies[line]); err != nil {
			return err
		}
	}
	return nil
}

// sumsOf are what the program keeps beside a connection.
func sumsOf(c *oracle.Connection) (delta, request, reply uint16) {
	ends := func(from, to netip.AddrPort) uint32 {
		return uint32(packet.Sum(0, append(from.Addr().AsSlice(), to.Addr().AsSlice()...)))
	}
	word := func(sum uint32) uint16 { return encodePort(packet.Sum(sum, nil)) }
	came, leaves := ends(c.Client, c.VIP), ends(c.Source, c.Backend)
	request, reply = word(came+uint32(c.Protocol)), word(leaves+uint32(c.Protocol))
	before := packet.Sum(came+uint32(c.Client.Port())+uint32(c.VIP.Port()), nil)
	return word(leaves + uint32(c.Source.Port()) + uint32(c.Backend.Port()) + uint32(^before)), request, reply
}

func stateNumber(state oracle.State) lbConnectionState {
	for number, name := range connectionStates {
		if name == string(state) {
			return lbConnectionState(number)
		}
	}
	return 0
}

// chosen is the source that the program has chosen for a connection.
func (c *court) chosen(begins *oracle.Connection) (netip.AddrPort, bool) {
	table := &c.plane.mapped.connections
	for i, tag := range table.tags {
		if !tagLives(tag, begins.Begun) || tagState(tag) == lbConnectionStateCONNECTION_RETIRED {
			continue
		}
		entry := table.entries[i]
		source := netip.AddrPortFrom(plainAddress(entry.Source, entry.BackendV6), decodePort(entry.SourcePort))
		trial := *begins
		trial.Source, trial.Back = source, oracle.WayBack{}
		want := c.entryOf(&trial)
		if entry.Client == want.Client && entry.ClientPort == want.ClientPort && entry.Vip == want.Vip && entry.VipPort == want.VipPort &&
			entry.Protocol == want.Protocol && entry.ClientV6 == want.ClientV6 {
			return source, true
		}
	}
	return netip.AddrPort{}, false
}

// plainAddress does not take IPv6 for IPv4 that is mapped.
func plainAddress(encoded lbAddress, v6 uint8) netip.Addr {
	addr := decodeAddress(encoded)
	if v6 == 1 {
		return netip.AddrFrom16(addr.As16())
	}
	return addr
}

// entryOf is a connection as the program should keep it, but for the sums, which
// its packets show.
func (c *court) entryOf(connection *oracle.Connection) lbConnection {
	entry := lbConnection{
		Client: encodeAddress(connection.Client.Addr()), ClientPort: encodePort(connection.Client.Port()),
		Vip: encodeAddress(connection.VIP.Addr()), VipPort: encodePort(connection.VIP.Port()),
		SourcePort:     encodePort(connection.Source.Port()),
		BackendAddress: encodeAddress(connection.Backend.Addr()), BackendPort: encodePort(connection.Backend.Port()),
		Backend: connection.Index, Begun: connection.Begun,
		BackendIsn: binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, connection.ISN)),
		Protocol:   uint8(connection.Protocol),
		ClientV6:   one(connection.Client.Addr().Is6()), BackendV6: one(connection.Backend.Addr().Is6()),
	}
	if connection.Source.IsValid() {
		entry.Source = encodeAddress(connection.Source.Addr())
	}
	back := connection.Back
	copy(entry.Back.Macs[:], back.NextHopMAC[:])
	copy(entry.Back.Macs[6:], back.EgressMAC[:])
	entry.Back.Ifindex, entry.Back.Vlan, entry.Back.Longest = back.Interface, back.VLAN, uint16(back.Longest)
	return entry
}

// sameConnections compares who lives where, and how.
func (c *court) sameConnections() error {
	table, second := &c.plane.mapped.connections, c.second
	for i, tag := range table.tags {
		want := c.oracle.Connections.Lines[i/int(tagsPerLine)][i%int(tagsPerLine)]
		lives := want != nil && int32(want.Expires-second) >= 0
		switch {
		case !lives && !tagLives(tag, second):
			continue
		case lives != tagLives(tag, second):
			return fmt.Errorf("the connection at %d is %s until %d of %+v in the kernel, and %+v by the oracle",
				i, connectionStates[tagState(tag)], uint32(tag), table.entries[i], want)
		case connectionStates[tagState(tag)] != string(want.State) || uint32(tag) != want.Expires:
			return fmt.Errorf("the connection at %d is %s until %d in the kernel, and by the oracle %+v",
				i, connectionStates[tagState(tag)], uint32(tag), *want)
		}
		entry := table.entries[i]
		entry.Reply, entry.Delta, entry.RequestPseudo, entry.ReplyPseudo = 0, 0, 0, 0
		if expected := c.entryOf(want); entry != expected {
			return fmt.Errorf("the connection at %d is in the kernel %+v\nand by the oracle %+v", i, entry, expected)
		}
	}
	return nil
}

// takeID puts the identification that the program has chosen into the oracle's
// frame.
func (c *court) takeID(fate *oracle.Fate, got []byte) {
	at := fate.FreeID
	if at == 0 || len(got) != len(fate.Frame) {
		return
	}
	header := fate.Frame[at:][:20]
	copy(header[4:6], got[at+4:])
	copy(header[10:12], []byte{0, 0})
	binary.BigEndian.PutUint16(header[10:], ^packet.Sum(0, header))
}
