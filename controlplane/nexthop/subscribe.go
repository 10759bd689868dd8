package nexthop

import (
	"context"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// groups are all that can change a way. One socket listens to them all, so that
// events come in the order in which the kernel made them, and are lost together.
var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_NEXTHOP,
}

func (k *netlinkKernel) Subscribe(ctx context.Context) (<-chan []event, error) {
	socket, err := nl.SubscribeAt(k.namespace, netns.None(), unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, err
	}
	// Where it may not be enlarged, events are lost more often; that is coped with.
	_ = socket.SetReceiveBufferSize(k.buffer, true)
	events := make(chan []event, 64)
	stop := context.AfterFunc(ctx, socket.Close)
	go func() {
		defer close(events)
		defer func() {
			if stop() {
				socket.Close()
			}
		}()
		for {
			messages, from, err := socket.Receive()
			if err != nil {
				return // ENOBUFS, or closed by ctx
			}
			if from.Pid != nl.PidKernel {
				continue // anyone may send to a netlink socket
			}
			select {
			case events <- decode(messages):
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

// decode takes the events out of messages. One that cannot be read stands for
// "something has changed".
func decode(messages []syscall.NetlinkMessage) []event {
	var events []event
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			header := unix.NlMsghdr(m.Header)
			link, err := netlink.LinkDeserialize(&header, m.Data)
			if err != nil {
				events = append(events, routeEvent{})
			} else if !ofBridge(m.Data) {
				events = append(events, linkEvent{asLink(link), m.Header.Type == unix.RTM_DELLINK})
			}
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			entry, err := netlink.NeighDeserialize(m.Data)
			if err == nil && (entry.Family == unix.AF_INET || entry.Family == unix.AF_INET6) {
				events = append(events, neighbourEvent{asNeighbour(*entry), m.Header.Type == unix.RTM_DELNEIGH})
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			events = append(events, routeEvent{destination(m.Data)})
		case unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWRULE, unix.RTM_DELRULE,
			unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
			events = append(events, routeEvent{})
		}
	}
	return events
}

// ofBridge tells messages about a bridge's port, whose RTM_DELLINK says that
// the port has left the bridge and not that the link has gone.
func ofBridge(ifinfomsg []byte) bool { return ifinfomsg[0] == unix.AF_BRIDGE }

// destination is the prefix of a route message; the zero prefix, which stands
// for all, where it cannot be read.
func destination(data []byte) netip.Prefix {
	if len(data) < unix.SizeofRtMsg {
		return netip.Prefix{}
	}
	message := nl.DeserializeRtMsg(data)
	addr := netip.IPv4Unspecified() // a default route has no destination
	if message.Family == unix.AF_INET6 {
		addr = netip.IPv6Unspecified()
	}
	attributes, err := nl.ParseRouteAttr(data[message.Len():])
	if err != nil {
		return netip.Prefix{}
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.RTA_DST {
			addr, _ = netip.AddrFromSlice(a.Value)
		}
	}
	return netip.PrefixFrom(addr, int(message.Dst_len))
}
