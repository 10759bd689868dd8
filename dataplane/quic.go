package dataplane

import (
	"cmp"
	"fmt"
	"slices"
)

// QUIC says which bytes of a connection ID (RFC 9000, section 5.1) name a backend.
type QUIC struct {
	Offset uint8 // of the first of them
	Length uint8 // 1 to MaxQUICID; 0 is none
}

// MaxQUICID is the greatest number of bytes that may name a backend, and
// MaxConnectionID that of a whole connection ID (RFC 9000, section 17.2).
const (
	MaxQUICID       = 8
	MaxConnectionID = 20
)

// QUICKey is what connection IDs to a service hold of one backend's. Bytes beyond
// Length are zero.
type QUICKey struct {
	Service uint32
	Length  uint8
	ID      [MaxQUICID]byte
}

func (k QUICKey) String() string {
	return fmt.Sprintf("QUIC ID %x of service %d", k.ID[:min(k.Length, MaxQUICID)], k.Service)
}

// Find reads the bytes that name a backend from a UDP payload. A short header does
// not tell how long its connection ID is (RFC 9000, section 17.3.1); of a long one's
// only these bytes need be there.
func (q QUIC) Find(payload []byte) (id []byte, found bool) {
	first, behind := int(q.Offset), int(q.Offset)+int(q.Length)
	switch {
	case q.Length == 0 || len(payload) == 0:
		return nil, false
	case payload[0]&0x80 == 0:
		payload = payload[1:]
	case len(payload) < 6 || int(payload[5]) < behind:
		return nil, false
	default:
		payload = payload[6:]
	}
	if len(payload) < behind {
		return nil, false
	}
	return payload[first:behind], true
}

// Key is what an ID is held under.
func (q QUIC) Key(service uint32, id []byte) QUICKey {
	key := QUICKey{Service: service, Length: q.Length}
	copy(key.ID[:], id)
	return key
}

func (s *Service) invalidQUIC() string {
	if s.QUIC.Length > MaxQUICID || int(s.QUIC.Offset)+int(s.QUIC.Length) > MaxConnectionID {
		return fmt.Sprintf("its QUIC IDs, %d bytes from %d on, may have %d bytes in a connection ID of %d",
			s.QUIC.Length, s.QUIC.Offset, MaxQUICID, MaxConnectionID)
	}
	if s.QUIC.Length == 0 {
		return ""
	}
	seen := make(map[string]bool)
	for i := range s.Backends {
		id := s.Backends[i].QUICID
		switch {
		case id == "":
			continue
		case len(id) != int(s.QUIC.Length):
			return fmt.Sprintf("backend %s has a QUIC ID of %d bytes instead of %d", s.Backends[i].ID, len(id), s.QUIC.Length)
		case seen[id]:
			return fmt.Sprintf("backend %s has the QUIC ID %x of another", s.Backends[i].ID, id)
		}
		seen[id] = true
	}
	return ""
}

// quicIDs are those that there will be: of services that stay as they are, those
// that they have.
func (d *difference) quicIDs() map[QUICKey]uint32 {
	ids := make(map[QUICKey]uint32, len(d.have.QUICIDs))
	for key, index := range d.have.QUICIDs {
		if d.kept[key.Service] {
			ids[key] = index
		}
	}
	for _, p := range d.plans {
		for i, index := range p.indexes {
			if id := p.want.Backends[i].QUICID; id != "" && p.want.QUIC.Length > 0 {
				ids[p.want.QUIC.Key(p.id, []byte(id))] = index
			}
		}
	}
	return ids
}

func (d *difference) appendQUICIDs(steps []Step, wanted map[QUICKey]uint32) []Step {
	for _, key := range sortedQUICKeys(wanted) {
		if held, known := d.have.QUICIDs[key]; !known || held != wanted[key] {
			steps = append(steps, PutQUICID{key, wanted[key]})
		}
	}
	return steps
}

func (d *difference) appendQUICDeletions(steps []Step, wanted map[QUICKey]uint32) []Step {
	for _, key := range sortedQUICKeys(d.have.QUICIDs) {
		if _, stays := wanted[key]; !stays {
			steps = append(steps, DeleteQUICID{key})
		}
	}
	return steps
}

func sortedQUICKeys(ids map[QUICKey]uint32) []QUICKey {
	list := make([]QUICKey, 0, len(ids))
	for key := range ids {
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b QUICKey) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Length, b.Length), slices.Compare(a.ID[:], b.ID[:]))
	})
	return list
}
