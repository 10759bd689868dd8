package dataplane

import (
	"net/netip"
	"time"
)

// Dropped is a packet that went nowhere, or not yet, as far as its headers were
// read: addresses that were not are invalid, and the rest is zero.
type Dropped struct {
	At                  time.Time
	Outcome             string
	Interface           uint32 // ifindex, where it came in
	Length              int    // of the frame
	VLAN                []int  // that it came by, the outer one first
	Protocol            Protocol
	Source, Destination netip.AddrPort
}

// Drops are samples of packets that a data plane drops or holds. Its methods may
// run beside a DataPlane's, and none beside another of its own but Close.
type Drops interface {
	// Watch has the program tell of drops for some seconds, or no more.
	Watch(on bool) error
	// Read waits for the next until the deadline; then it is os.ErrDeadlineExceeded,
	// and ErrClosed after Close.
	Read(deadline time.Time) (Dropped, error)
	// Untold is how many drops were not told of while they were watched, ever.
	Untold() (uint64, error)
	Close() error
}

// Wants tells whether a dropped packet is one of the filter's. One whose ends
// could not be read is not.
func (f PacketFilter) Wants(d Dropped) bool {
	return f.WantsFlow(d.Source, d.Destination, d.Protocol)
}

// WantsFlow tells whether a flow is one of the filter's. A port 0 is one that could
// not be read.
func (f PacketFilter) WantsFlow(client, to netip.AddrPort, protocol Protocol) bool {
	if f.VIP.IsValid() && !f.VIP.Contains(to.Addr()) || f.Client.IsValid() && !f.Client.Contains(client.Addr()) {
		return false
	}
	if f.Port == 0 || to.Port() == 0 {
		return true
	}
	return f.Port == to.Port() && (f.Protocol == 0 || f.Protocol == protocol)
}
