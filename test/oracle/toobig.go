package oracle

// tooBig tells the sender of a packet that does not fit its path which size does (RFC
// 1191; RFC 4443, section 3.2). IPv4 without DF gets the same answer: Linux and others
// learn from it and fragment themselves, and tunnels are never fragmented.
func (b *Balancer) tooBig(p *packet, mtu int) Fate {
	outcome, head := ReplyTooBig, errorHead{unreachable, codeFragmentationDF, uint32(mtu)}
	if p.v6 {
		head = errorHead{tooBigV6, 0, uint32(mtu)}
	} else if !p.dontFrag {
		outcome = ReplyTooBigNoDF
	}
	return b.tell(p, head, outcome, DropTooBig)
}
