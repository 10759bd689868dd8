package stories

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/api"
)

// ledger is what the program has counted, by service and backend.
type ledger map[string]map[string]api.Backend

func (s *stage) ledger() ledger {
	s.t.Helper()
	all, err := s.Backends(s.t.Context())
	s.must(err)
	l := ledger{}
	for _, service := range all.Services {
		l[service.Name] = map[string]api.Backend{}
		for _, b := range service.Backends {
			l[service.Name][b.Address] = b
		}
	}
	return l
}

// follows checks that counters go on from where they were.
func (l ledger) follows(t *testing.T, before ledger) {
	t.Helper()
	for service, backends := range before {
		for address, was := range backends {
			now := l[service][address]
			if now.Packets <= was.Packets || now.Bytes <= was.Bytes || now.NewFlows < was.NewFlows {
				t.Errorf("%s of %s had %d packets, %d bytes and %d flows, and now has %d, %d and %d: it counts anew",
					address, service, was.Packets, was.Bytes, was.NewFlows, now.Packets, now.Bytes, now.NewFlows)
			}
		}
	}
}

// accounts holds the program's counters against all that clients did since it was
// loaded. Of a flow over TCP it saw one SYN; a second is seen where a busy machine
// loses one, and never of one in a hundred. UDP flows are at least a packet each.
func (s *stage) accounts(h heard) {
	s.t.Helper()
	tcp, udp := 0, 0
	for vip, opened := range h.opened {
		if strings.HasPrefix(vip, "udp ") {
			udp += opened
		} else {
			tcp += opened
		}
	}
	var flows, packets, datagrams uint64
	for service, backends := range s.ledger() {
		for _, b := range backends {
			flows += b.NewFlows
			packets += b.Packets
			if service == "dns" {
				datagrams += b.Packets
			}
		}
	}
	if most := tcp + tcp/100; flows < uint64(tcp) || flows > uint64(most) {
		s.t.Errorf("clients opened %d connections, and the program has seen %d", tcp, flows)
	}
	if datagrams < uint64(udp) {
		s.t.Errorf("clients opened %d flows over UDP, and the program has seen %d packets", udp, datagrams)
	}
	if forwarded := s.status().Outcomes["FORWARD"]; forwarded < packets {
		s.t.Errorf("%d packets were forwarded, and %d to backends", forwarded, packets)
	}
	s.t.Logf("clients opened %d connections, of which the program has seen %d, and %d flows over UDP; of %d requests %d were lost, of the flows that stayed open %d broke",
		tcp, flows, udp, len(h.Answers), len(h.Failed()), len(h.broken))
}
