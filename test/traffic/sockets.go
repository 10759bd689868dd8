package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// sockets are TCP connections of one process which stay open, and no more than that:
// a goroutine and buffers for each would take gigabytes.
type sockets struct {
	from    netip.Addr
	to      netip.AddrPort
	timeout time.Duration // of all answers of a batch
	fds     []int         // closed ones are -1
	round   uint32
}

const (
	massBatch    = 256 // connections that are opened or used at a time
	massQuestion = 8   // bytes: which connection, and which round
	otherFiles   = 64  // that a process has open, more than enough
)

// open opens so many connections. It returns why some could not be had, or got no
// answer, one error for each. Those are closed.
func (s *sockets) open(count int) []error {
	first := len(s.fds)
	for range count {
		s.fds = append(s.fds, -1)
	}
	return s.inBatches(first, func(first, last int) (failures []error) {
		for i := first; i < last; i++ {
			var err error
			if s.fds[i], err = s.connect(); err != nil {
				failures = append(failures, fmt.Errorf("connection %d: %w", i+1, err))
			}
		}
		return append(failures, s.exchange(first, last)...)
	})
}

// use asks on each connection, and returns why connections broke, one error for each.
// Those are closed.
func (s *sockets) use() []error {
	s.round++
	return s.inBatches(0, s.exchange)
}

// reset ends the first so many connections that are open.
func (s *sockets) reset(count int) {
	for i := range s.fds {
		if count > 0 && s.fds[i] >= 0 {
			s.shut(i)
			count--
		}
	}
}

// shut sends RST, as connect has asked for.
func (s *sockets) shut(i int) {
	unix.Close(s.fds[i])
	s.fds[i] = -1
}

// inBatches does something with all connections from the first on, those of a batch
// at once.
func (s *sockets) inBatches(first int, do func(first, last int) []error) (failures []error) {
	for ; first < len(s.fds); first += massBatch {
		failures = append(failures, do(first, min(first+massBatch, len(s.fds)))...)
	}
	return failures
}

// connect begins a connection. It is under way on return.
func (s *sockets) connect() (int, error) {
	family := unix.AF_INET6
	if s.from.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		// Nothing of a process that ends is left to be waited for.
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		// The port is chosen when the other end is known, as it may be in use to others.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, sockaddr(netip.AddrPortFrom(s.from, 0))))
	if err == nil {
		err = unix.Connect(fd, sockaddr(s.to))
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// exchange asks on some connections at once and waits for all answers.
func (s *sockets) exchange(first, last int) (broken []error) {
	var waiting []unix.PollFd // until one may be written to, then until one may be read
	var which []int
	for i := first; i < last; i++ {
		if s.fds[i] >= 0 {
			waiting = append(waiting, unix.PollFd{Fd: int32(s.fds[i]), Events: unix.POLLOUT})
			which = append(which, i)
		}
	}
	for deadline := time.Now().Add(s.timeout); len(waiting) > 0; {
		left := time.Until(deadline)
		if _, err := unix.Poll(waiting, max(0, int(left.Milliseconds()))); err != nil && !errors.Is(err, unix.EINTR) {
			return append(broken, err)
		}
		var still []unix.PollFd
		var whose []int
		for n, p := range waiting {
			done, err := s.goOn(which[n], &p)
			if err == nil && !done && left <= 0 {
				err = errors.New("there is no answer")
			}
			switch {
			case err != nil:
				broken = append(broken, fmt.Errorf("connection %d: %w", which[n]+1, err))
				s.shut(which[n])
			case !done:
				still, whose = append(still, p), append(whose, which[n])
			}
		}
		waiting, which = still, whose
	}
	return broken
}

// goOn does what a socket is ready for, and tells whether it has its answer.
func (s *sockets) goOn(i int, p *unix.PollFd) (done bool, err error) {
	if p.Revents == 0 {
		return false, nil
	}
	var question, answer [massQuestion]byte
	binary.BigEndian.PutUint32(question[:], uint32(i))
	binary.BigEndian.PutUint32(question[4:], s.round)
	if p.Events == unix.POLLOUT {
		if _, err := unix.Write(int(p.Fd), question[:]); err != nil {
			return false, err
		}
		p.Events, p.Revents = unix.POLLIN, 0
		return false, nil
	}
	n, err := unix.Read(int(p.Fd), answer[:])
	if err == nil && answer != question {
		err = fmt.Errorf("asked %x, got %x", question, answer[:n])
	}
	return true, err
}
