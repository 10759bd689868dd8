package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

const pieceSize = 1200 // fits with the headers of either family

// cutUp makes fragments of a frame's packet, as its sender does.
func cutUp(frame []byte, id uint32) (pieces [][]byte) {
	headers := 20
	if frame[12] != 8 {
		headers = 40
	}
	payload := frame[14+headers:]
	for at := 0; at < len(payload); at += pieceSize {
		part := payload[at:min(at+pieceSize, len(payload))]
		more := at+pieceSize < len(payload)
		if headers == 20 {
			pieces = append(pieces, pieceOf4(frame[:34], part, at, more, uint16(id)))
		} else {
			pieces = append(pieces, pieceOf6(frame[:54], part, at, more, id))
		}
	}
	return pieces
}

func pieceOf4(headers, part []byte, at int, more bool, id uint16) []byte {
	piece := bytes.Clone(headers)
	bits := uint16(at / 8)
	if more {
		bits |= 0x2000
	}
	binary.BigEndian.PutUint16(piece[14+2:], uint16(20+len(part)))
	binary.BigEndian.PutUint16(piece[14+4:], id)
	binary.BigEndian.PutUint16(piece[14+6:], bits)
	copy(piece[14+10:], []byte{0, 0})
	binary.BigEndian.PutUint16(piece[14+10:], ^sum16(piece[14:34]))
	return append(piece, part...)
}

func pieceOf6(headers, part []byte, at int, more bool, id uint32) []byte {
	piece := bytes.Clone(headers)
	bits := uint16(at)
	if more {
		bits |= 1
	}
	next := piece[14+6]
	piece[14+6] = packet.Fragment
	binary.BigEndian.PutUint16(piece[14+4:], uint16(8+len(part)))
	piece = append(piece, next, 0)
	piece = binary.BigEndian.AppendUint16(piece, bits)
	piece = binary.BigEndian.AppendUint32(piece, id)
	return append(piece, part...)
}

// movedOn is an identification as that of the sender's fragments leaves.
func movedOn(id uint32, sender netip.Addr) uint32 {
	hash := dataplane.NewHash(42)
	return id + hash.Entropy(netip.AddrPortFrom(sender, 0), dataplane.VIP{}, dataplane.VIPEntry{AffinityClient: true})
}

// lengthen gives a talk a payload that takes three pieces, of which the last is odd.
func lengthen(p talk) talk {
	text := bytes.Repeat([]byte("mind the gap, "), 300)
	p.payload = string(text[:2*pieceSize+331])
	return p
}

// natPieces are fragments of a client's datagram and of its answer, and what each
// should become, on a stage where the connection is not begun yet.
type natPieces struct {
	*natStage
	asked, answered       talk     // as the client sends and gets them
	request, reply        [][]byte // as they come
	requestGone, replyHas [][]byte // as they leave
}

const askedID, answeredID = 0xfffe, 0x89ab1234

// piecesOf begins a connection, to know its port, by the first whole packets.
func piecesOf(t *testing.T, s *natStage, sent talk) natPieces {
	t.Helper()
	opening := sent
	if sent.protocol == dataplane.TCP {
		opening.flags = "S"
	}
	got := s.request(opening)
	opened := answer(got, "SA", "")
	if sent.protocol == dataplane.UDP {
		opened.flags, opened.seq, opened.ack = "", 0, 0
	}
	s.reply(opened)

	asks := lengthen(sent)
	reaches := asks
	reaches.from, reaches.to, reaches.macs, reaches.hops = got.from, got.to, got.macs, 63
	answers := lengthen(opened)
	answers.macs = [2]string{string(nextHopMAC), string(egressMAC)}
	if sent.protocol == dataplane.TCP {
		answers.flags = "A"
	}
	returns := answers
	returns.from, returns.to, returns.hops = sent.to, sent.from, 63
	returns.macs = [2]string{string(balancerMAC), string(clientMAC)}
	return natPieces{
		natStage: s, asked: asks, answered: returns,
		request:     cutUp(asks.frame(t), askedID),
		requestGone: cutUp(reaches.frame(t), movedOn(askedID, asks.from.Addr())),
		reply:       cutUp(answers.frame(t), answeredID),
		replyHas:    cutUp(returns.frame(t), movedOn(fragmentID(answers.from.Addr(), answeredID), answers.from.Addr())),
	}
}

// fragmentID is as much of an identification as the family has room for.
func fragmentID(of netip.Addr, id uint32) uint32 {
	if of.Is4() {
		return id & 0xffff
	}
	return id
}

// become wants pieces to leave as others, in an order of which.
func (p natPieces) become(t *testing.T, counter string, came, leave [][]byte, order ...int) {
	t.Helper()
	for _, i := range order {
		got := p.send(came[i])
		expect(t, got, xdpTX, leave[i], counter)
	}
}

// edited is a frame with a change in its IP header, whose checksum stays right.
func edited(frame []byte, edit4, edit6 func(ip []byte)) []byte {
	frame = bytes.Clone(frame)
	ip := frame[14:]
	if frame[12] != 8 {
		edit6(ip)
		return frame
	}
	edit4(ip)
	copy(ip[10:], []byte{0, 0})
	binary.BigEndian.PutUint16(ip[10:], ^sum16(ip[:20]))
	return frame
}

func lying(frame []byte) []byte {
	return edited(frame, func(ip []byte) { ip[2] ^= 0x40 }, func(ip []byte) { ip[4] ^= 0x40 })
}

func onItsLastHop(frame []byte) []byte {
	return edited(frame, func(ip []byte) { ip[8] = 1 }, func(ip []byte) { ip[7] = 1 })
}

// longer is a fragment that no way in these tests takes.
func longer(frame []byte) []byte {
	const more = 400
	frame = append(bytes.Clone(frame), make([]byte, more)...)
	add := func(length []byte) { binary.BigEndian.PutUint16(length, binary.BigEndian.Uint16(length)+more) }
	return edited(frame, func(ip []byte) { add(ip[2:]) }, func(ip []byte) { add(ip[4:]) })
}

// behindOptions is an IPv6 fragment whose packet has destination options, which
// its fragment header names.
func behindOptions(frame []byte) []byte {
	frame = bytes.Clone(frame)
	ip := frame[14:]
	udp := ip[40]
	ip[40] = packet.Options
	if ip[42] == 0 && ip[43]&0xf8 == 0 { // the first: they are in it
		frame = slices.Insert(frame, 14+48, udp, 0, 1, 4, 0, 0, 0, 0)
		binary.BigEndian.PutUint16(frame[18:], binary.BigEndian.Uint16(frame[18:])+8)
	}
	return frame
}
