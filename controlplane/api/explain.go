package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/pointsman/pointsman/dataplane"
)

// Explanation is GET /v1/explain?protocol=tcp&client=ADDRESS:PORT&to=ADDRESS:PORT:
// which backend packets of a flow get by the kernel's tables, and why.
type Explanation struct {
	SchemaVersion int    `json:"schema_version"`
	Protocol      string `json:"protocol"`
	Client        string `json:"client"`
	To            string `json:"to"`
	VIP           string `json:"vip"` // that packets are for, as the file has it
	Service       string `json:"service"`
	Forward       string `json:"forward"`
	// SlotFrom is what the slot follows from: "5-tuple" or "client address".
	SlotFrom string            `json:"slot_from"`
	Slot     uint32            `json:"slot"` // of Slots
	Slots    uint32            `json:"slots"`
	Phase    string            `json:"phase"` // "settled", "moving", "learning" or "settling"
	Owner    *ExplainedBackend `json:"owner"` // null where no backend can take the slot
	Fallback *ExplainedBackend `json:"fallback,omitempty"`
	// Remembered is where the flow table has the flow; absent where it has not, or
	// is not asked.
	Remembered *ExplainedBackend `json:"remembered,omitempty"`
	Packets    []ExplainedPacket `json:"packets"`
	Notes      []string          `json:"notes"`
}

// ExplainedBackend is one that a slot or a flow leads to.
type ExplainedBackend struct {
	Address string `json:"address"`
	State   string `json:"state"` // as in Backend; "gone" where it is no backend any more
	NextHop string `json:"next_hop,omitempty"`
}

// ExplainedPacket is what becomes of one kind of packet, if it is sound and fits.
type ExplainedPacket struct {
	Kind    string            `json:"kind"`    // "syn", "other", or "any" where they do not differ
	Outcome string            `json:"outcome"` // "FORWARD", "DROP_NO_BACKEND" or "DROP_NO_CONNECTION"
	Backend *ExplainedBackend `json:"backend,omitempty"`
	// Rule is "owner", "new owner", "no room", "remembered", "fallback", "learning",
	// "connection" or "no connection", and Why is that in a sentence.
	Rule string `json:"rule"`
	Why  string `json:"why"`
}

// Explain asks where a client's packets to a destination go.
func (c *Client) Explain(ctx context.Context, protocol, client, to string) (Explanation, error) {
	query := url.Values{"protocol": {protocol}, "client": {client}, "to": {to}}
	var explained Explanation
	err := c.get(ctx, "/v1/explain?"+query.Encode(), &explained)
	return explained, err
}

func explain(source Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client, to, err := parseFlow(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		explained, err := source.Explain(client, to)
		conclude(w, explained, err)
	}
}

// parseFlow reads a flow whose ends are of one family.
func parseFlow(query url.Values) (client netip.AddrPort, to dataplane.VIP, err error) {
	switch protocol := query.Get("protocol"); protocol {
	case "tcp":
		to.Protocol = dataplane.TCP
	case "udp":
		to.Protocol = dataplane.UDP
	default:
		return client, to, fmt.Errorf("the protocol is %q: it may be tcp or udp", protocol)
	}
	destination, err := parseEnd(query.Get("to"))
	if err != nil {
		return client, to, err
	}
	if client, err = parseEnd(query.Get("client")); err != nil {
		return client, to, err
	}
	if client.Addr().Is4() != destination.Addr().Is4() {
		return client, to, fmt.Errorf("%s and %s are of two families, which no packet is", client.Addr(), destination.Addr())
	}
	to.Addr, to.Port = destination.Addr(), destination.Port()
	return client, to, nil
}

func parseEnd(text string) (netip.AddrPort, error) {
	end, err := netip.ParseAddrPort(text)
	if err != nil || end.Addr().Zone() != "" {
		return end, fmt.Errorf("%q is not ADDRESS:PORT, as in 192.0.2.10:443 or [2001:db8::10]:443", text)
	}
	return netip.AddrPortFrom(end.Addr().Unmap(), end.Port()), nil
}
