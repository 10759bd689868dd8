package kernel

import (
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// natMixes are the families of a VIP and of its backend.
var natMixes = []struct {
	name                 string
	client, vip, backend netip.Addr
	source               netip.Addr
}{
	{"IPv4 to IPv4", client4, vip4, backend4, source4},
	{"IPv6 to IPv6", client6, vip6, backend6, source6},
	{"IPv4 to IPv6", client4, vip4, backend6, source6},
	{"IPv6 to IPv4", client6, vip6, backend4, source4},
}

func TestPrivilegedAConnectionGoesToItsBackendAndBack(t *testing.T) {
	for _, mix := range natMixes {
		for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
			t.Run(mix.name+" "+protocol.String(), func(t *testing.T) {
				s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
				sent := talk{
					from: netip.AddrPortFrom(mix.client, 40000), to: netip.AddrPortFrom(mix.vip, 80), protocol: protocol,
					flags: "S", seq: 1000, hops: 57, payload: "hello, backend",
				}
				if protocol == dataplane.UDP {
					sent.flags, sent.seq = "", 0
				}
				got := s.request(sent)
				want := sent
				want.from = netip.AddrPortFrom(mix.source, got.from.Port())
				want.to = netip.AddrPortFrom(mix.backend, natPort)
				want.hops = 56
				want.macs = [2]string{string(egressMAC), string(nextHopMAC)}
				if got != want {
					t.Errorf("the backend gets\n%+v, want\n%+v", got, want)
				}
				if got.from.Port() < 1024 || got.from.Port() >= 32768 {
					t.Errorf("the source port is %d", got.from.Port())
				}
				back := answer(got, "SA", "hello, client, how odd")
				back.hops = 64
				if protocol == dataplane.UDP {
					back.flags, back.seq, back.ack = "", 0, 0
				}
				want = back
				want.from, want.to, want.hops = sent.to, sent.from, 63
				want.macs = [2]string{string(balancerMAC), string(clientMAC)}
				if got := s.reply(back); got != want {
					t.Errorf("the client gets\n%+v, want\n%+v", got, want)
				}
			})
		}
	}
}
