package oracle

import "github.com/pointsman/pointsman/dataplane"

// named is the backend that a QUIC packet's connection ID names: a client may
// change its address, the ID stays.
func (b *Balancer) named(p *packet, vip dataplane.VIPEntry) (uint32, bool) {
	if vip.QUIC.Length == 0 || p.protocol != protocolUDP {
		return 0, false
	}
	datagram := p.transport()
	size := min(be16(datagram[4:]), p.length-p.headers) // a first fragment has less than it says
	if size < udpSize {
		return 0, false
	}
	id, found := connectionID(datagram[udpSize:size], int(vip.QUIC.Offset), int(vip.QUIC.Length))
	if !found {
		return 0, false
	}
	key := dataplane.QUICKey{Service: vip.Service, Length: vip.QUIC.Length}
	copy(key.ID[:], id)
	backend, known := b.Tables.QUICIDs[key]
	return backend, known
}

// connectionID is a range of bytes of the destination's connection ID, which in
// a long header (RFC 9000, section 17.2) tells its length and in a short one
// (section 17.3) does not.
func connectionID(payload []byte, offset, length int) ([]byte, bool) {
	begin := 1
	if len(payload) > 0 && payload[0]&0x80 != 0 {
		begin = 6
		if len(payload) < begin || int(payload[5]) < offset+length {
			return nil, false
		}
	}
	if len(payload) < begin+offset+length {
		return nil, false
	}
	return payload[begin+offset:][:length], true
}
