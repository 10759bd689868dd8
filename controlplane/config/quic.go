package config

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/pointsman/pointsman/dataplane"
)

// quic reads where the service's backends name themselves in connection IDs.
func (d *decoder) quic(service *block, s Service) *QUIC {
	inner, wanted := service.one("quic"), s.Affinity == "quic"
	for _, b := range s.Backends {
		if b.QUICID != "" && !wanted {
			d.report(b.At("quic_id"), fmt.Sprintf("backend %s%s has a quic_id, which is not looked for", b, service.where()),
				`set affinity = "quic", or drop it`)
		}
	}
	switch {
	case inner == nil && wanted:
		d.report(service.At("affinity"), "affinity \"quic\""+service.where()+" needs a quic block",
			"say which bytes of a connection ID name the backend: quic { length = 2 }")
	case inner != nil && !wanted:
		d.report(blockPosition(inner), "a quic block"+service.where()+", whose affinity is \""+s.Affinity+"\"",
			`set affinity = "quic", or drop it`)
	}
	if inner == nil || !wanted {
		return nil
	}
	b := service.child(inner, "service.quic")
	q := &QUIC{Place: b.Place, Offset: DefaultQUICOffset}
	set(b, "offset", &q.Offset, whole[uint8](0, dataplane.MaxConnectionID-1))
	b.require("length", "say how many bytes name the backend: length = 2")
	set(b, "length", &q.Length, whole[uint8](1, dataplane.MaxQUICID))
	if int(q.Offset)+int(q.Length) > dataplane.MaxConnectionID {
		d.report(b.At("length"), fmt.Sprintf("%d bytes from byte %d on%s end beyond the connection ID", q.Length, q.Offset, b.where()),
			fmt.Sprintf("it has at most %d bytes (RFC 9000)", dataplane.MaxConnectionID))
	}
	if !slices.ContainsFunc(s.Listen, func(l Listen) bool { return l.Protocol == dataplane.UDP }) && len(s.Listen) > 0 {
		d.report(service.At("affinity"), "affinity \"quic\""+service.where()+" without a VIP of udp", "QUIC is UDP; TCP goes by flow")
	}
	if q.Length > 0 {
		d.quicIDs(service, s, int(q.Length))
	}
	return q
}

// quicIDs finds IDs that are of another length than the service's, or not unique.
func (d *decoder) quicIDs(service *block, s Service, length int) {
	first := map[string]Position{}
	for _, b := range s.Backends {
		if b.QUICID == "" {
			continue
		}
		if has := len(b.QUICID) / 2; has != length {
			d.report(b.At("quic_id"), fmt.Sprintf("the quic_id of backend %s%s has %d bytes, and those of the service have %d",
				b, service.where(), has, length), "two digits are a byte")
			continue
		}
		if earlier, twice := first[b.QUICID]; twice {
			d.report(b.At("quic_id"), fmt.Sprintf("backend %s%s has the quic_id of another", b, service.where()),
				fmt.Sprintf("the first is at %s; it must tell them apart", earlier))
			continue
		}
		first[b.QUICID] = b.At("quic_id")
	}
}

// quicID is bytes in hexadecimal, small letters.
func quicID(value cty.Value) (string, *wrong) {
	s, mistake := name(value)
	if mistake != nil {
		return "", mistake
	}
	id, err := hex.DecodeString(s)
	if err != nil || len(id) > dataplane.MaxQUICID {
		return "", &wrong{fmt.Sprintf("%q is not 1 to %d bytes in hexadecimal", s, dataplane.MaxQUICID), `write "0a0b"`}
	}
	return hex.EncodeToString(id), nil
}
