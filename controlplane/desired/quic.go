package desired

import "fmt"

// nameForQUIC says by which bytes of a connection ID each backend is known. Where
// several have the same, none can be told by them: their connections go by flow.
func nameForQUIC(s Service, backends []backend) {
	if s.QUIC.Length == 0 {
		return
	}
	known := make(map[string]int, len(backends)) // 1 + the first backend of that name
	for i := range backends {
		b := &backends[i]
		if b.State == BackendRejected { // those that are down will be back, and shall not change the others' names
			continue
		}
		id := quicID(s, b.facts)
		first := known[id] - 1
		if first < 0 {
			known[id], b.quicID = i+1, id
			continue
		}
		backends[first].shareName(id, *b)
		b.shareName(id, backends[first])
	}
}

// quicID is what the instance says, else the last bytes of its address.
func quicID(s Service, facts Instance) string {
	if facts.QUICID != "" {
		return facts.QUICID
	}
	addr := facts.Addr.As16()
	return string(addr[len(addr)-int(s.QUIC.Length):])
}

func (b *backend) shareName(id string, with backend) {
	b.quicID = ""
	if b.Reason == "" {
		b.Reason = fmt.Sprintf("its QUIC ID %x is that of %s, too: their connections go by flow", id, with.Addr)
	}
}
