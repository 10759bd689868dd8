package oracle

// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const (
	echoReply             = 0
	unreachable           = 3
	echoRequest           = 8
	timeExceeded          = 11
	parameterProblem      = 12
	unreachableV6         = 1
	tooBigV6              = 2
	timeExceededV6        = 3
	parameterProblemV6    = 4
	echoRequestV6         = 128
	echoReplyV6           = 129
	icmpSize              = 8 // of all that are answered, sent or steered
	codeFragmentationDF   = 4
	codeSourceRouteFailed = 5
	replyTTL              = 64
	ttlOffset             = 8
	hopLimitOffset        = 7
	ipv4ChecksumOffset    = 10
	ipv4AddressesOffset   = 12
	ipv6AddressesOffset   = 8
	icmpChecksumOffset    = 2
)

// icmp is for a VIP's address if for anything: echo requests are answered,
// errors go to the flow's backend, the host gets the rest. Lengths are judged of
// what is answered or sent on: the host's own is its to judge.
func (b *Balancer) icmp(p *packet) Fate {
	switch {
	case !b.isVIPAddress(p.destination):
		return b.errorToSource(p)
	case p.fragment != nil:
		return p.rejected(PassICMP)
	case p.cutShort() || len(p.transport()) < icmpSize:
		return p.rejected(DropUnreadable)
	case p.isEchoRequest() && p.mayBeAnswered():
		return p.echo()
	case p.isICMPError():
		return b.icmpError(p)
	}
	return p.rejected(PassICMP)
}

func (p *packet) isEchoRequest() bool {
	kind, code := p.transport()[0], p.transport()[1]
	return p.plain && code == 0 && (!p.v6 && kind == echoRequest || p.v6 && kind == echoRequestV6)
}

func (p *packet) isICMPError() bool {
	switch p.transport()[0] {
	case unreachable, timeExceeded, parameterProblem:
		if !p.v6 {
			return true
		}
	}
	return p.v6 && p.transport()[0] >= unreachableV6 && p.transport()[0] <= parameterProblemV6
}

// echo answers as RFC 792 and RFC 4443, section 4.2, ask: the addresses change
// places, the type changes, everything else comes back. The checksums are mended
// and not computed, so that a request that was damaged on its way is an answer
// that was.
func (p *packet) echo() Fate {
	if p.lengthLies(icmpSize) {
		return p.rejected(DropBadLength)
	}
	ip := append([]byte(nil), p.ip()...)
	if p.v6 {
		swap(ip[ipv6AddressesOffset:], 16)
		ip[hopLimitOffset] = replyTTL
		mend(ip[ipv6Size+icmpChecksumOffset:], ip[ipv6Size:], echoReplyV6)
	} else {
		swap(ip[ipv4AddressesOffset:], 4)
		mend(ip[ipv4ChecksumOffset:], ip[ttlOffset:], replyTTL)
		mend(ip[ipv4Size+icmpChecksumOffset:], ip[ipv4Size:], echoReply)
		mendZeros(ip[ipv4Size:])
	}
	return Fate{Outcome: ReplyEcho, Verdict: TX, Frame: append(p.replyLink(), ip...)}
}

// mendZeros takes the other form of zero where the answer may be nothing but zeros:
// then alone the sum is 0, and else 0xffff. To who adds up, it is right for both.
func mendZeros(message []byte) {
	if be16(message[icmpChecksumOffset:]) == 0 && be16(message[4:]) == 0 && be16(message[6:]) == 0 {
		copy(message[icmpChecksumOffset:], []byte{0xff, 0xff})
	}
}

// swap lets two neighbours of a size change places.
func swap(addresses []byte, size int) {
	first := append([]byte(nil), addresses[:size]...)
	copy(addresses, addresses[size:][:size])
	copy(addresses[size:], first)
}
