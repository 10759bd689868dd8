package traffic

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// echoFiles is how many connections an Echo has at a time, and a few more.
const echoFiles = 16 << 10

// StartEcho starts a process that answers very many TCP connections to a port of the
// host by what they say. The lab ends it, if nobody does before.
func StartEcho(on *lab.Host, port uint16) (*lab.Process, error) {
	p, err := startPart(on, "echo", fmt.Sprint(port))
	if err == nil {
		_, err = p.say("")
	}
	if err != nil {
		return nil, fmt.Errorf("starting an echo on %s: %w", on.Name, err)
	}
	return p.process, nil
}

// playEcho says that it listens, and answers until nobody wants it any more.
func playEcho(port string, in io.Reader, out io.Writer) error {
	if err := AllowFiles(echoFiles); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	e := &echo{}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer file.Close() // or it may be closed while the number is in use
	e.listener = int(file.Fd())
	if err := unix.SetNonblock(e.listener, true); err != nil {
		return err
	}
	if e.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := e.watch(e.listener); err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(massReport{}); err != nil {
		return err
	}
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, in)
		os.Exit(0)
	}()
	return e.serve()
}

// echo is one goroutine for all connections.
type echo struct{ listener, poll int }

func (e *echo) watch(fd int) error {
	return unix.EpollCtl(e.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (e *echo) serve() error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(e.poll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, event := range events[:max(0, n)] {
			switch fd := int(event.Fd); fd {
			case e.listener:
				if err := e.accept(); err != nil {
					return err
				}
			default:
				e.answer(fd)
			}
		}
	}
}

func (e *echo) accept() error {
	for {
		fd, _, err := unix.Accept4(e.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("accepting a connection: %w", err)
		}
		if err := e.watch(fd); err != nil {
			return err
		}
	}
}

// answer sends back what has come. What a socket does not take at once is lost, which
// short questions and answers never are.
func (e *echo) answer(fd int) {
	var said [512]byte
	n, err := unix.Read(fd, said[:])
	if err == nil && n > 0 {
		_, err = unix.Write(fd, said[:n])
	}
	if n == 0 || err != nil && !errors.Is(err, unix.EAGAIN) {
		unix.Close(fd)
	}
}
