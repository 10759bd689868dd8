package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// settle waits until the client reaches every address. Links that have just
// come up lose packets while the kernel still digests their carrier, and one
// lost SYN would cost the first user of the lab a second.
//
// The balancer is asked, but does not ask: finding its backends' neighbours is
// part of what is judged in a lab.
func (l *Lab) settle() error {
	for _, h := range l.hosts {
		for _, addr := range h.addrs {
			if err := l.Client.awaitReach(h, addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitReach waits until the host reaches another's address.
func (h *Host) awaitReach(other *Host, addr netip.Addr) error {
	for deadline := time.Now().Add(10 * time.Second); !h.reaches(addr); {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not reach %s of %s", h.Name, addr, other.Name)
		}
	}
	return nil
}

// reaches asks a port that nobody listens on: the refusal is the answer.
func (h *Host) reaches(addr netip.Addr) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	conn, err := h.Dial(ctx, "tcp", netip.AddrPortFrom(addr, 9).String())
	switch {
	case err == nil:
		conn.Close()
	case !errors.Is(err, syscall.ECONNREFUSED):
		<-ctx.Done() // an error that comes at once is not asked again at once
		return false
	}
	return true
}
