package lab

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// listenUDP has one socket a family: how to answer from the address that was
// asked, a VIP, is told in another way in each.
func (s *servers) listenUDP(port uint16) error {
	for _, family := range []struct {
		network       string
		level, option int
	}{
		{"udp4", unix.IPPROTO_IP, unix.IP_PKTINFO},
		{"udp6", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO},
	} {
		packets, err := s.host.ListenPacket(family.network, fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		conn := packets.(*net.UDPConn)
		s.keep(conn)
		if err := setOption(conn, family.level, family.option); err != nil {
			return fmt.Errorf("asking for the destinations of datagrams: %w", err)
		}
		// A VIP may be one of a prefix, none of which IPv6 takes for the host's address.
		if family.network == "udp6" {
			if err := setOption(conn, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND); err != nil {
				return fmt.Errorf("answering from any address: %w", err)
			}
		}
		s.finished.Go(func() { s.serveUDP(conn) })
	}
	return nil
}

func (s *servers) serveUDP(conn *net.UDPConn) {
	name := []byte(s.host.Name + " ")
	packet, control := make([]byte, 65536), make([]byte, 256)
	for {
		n, controlLen, _, client, err := conn.ReadMsgUDPAddrPort(packet, control)
		if err != nil {
			return
		}
		answer := append(name[:len(name):len(name)], packet[:n]...)
		// One that cannot be sent is lost, as datagrams are.
		_, _, _ = conn.WriteMsgUDPAddrPort(answer, fromWhereItCame(control[:controlLen]), client)
	}
}

// fromWhereItCame turns the control message of a datagram that was received
// into that of its answer: sent from the address it was sent to.
func fromWhereItCame(control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: interface, local address, header's destination
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[8:12])})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])})
		}
	}
	return nil
}

func setOption(conn *net.UDPConn, level, option int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) { setErr = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return setErr
}
