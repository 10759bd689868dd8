package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// Ports are what a backend's servers listen on, in both families and on every
// address, VIPs included.
type Ports struct {
	HTTP []uint16 // answers the host's name; /healthz answers 200 while well
	TCP  []uint16 // greets with the host's name, then answers each line with it and the line
	UDP  []uint16 // answers each datagram with the host's name and the datagram
}

// DefaultPorts are what backends listen on unless told otherwise.
var DefaultPorts = Ports{HTTP: []uint16{80}, TCP: []uint16{7000}, UDP: []uint16{53}}

func (p Ports) none() bool { return len(p.HTTP)+len(p.TCP)+len(p.UDP) == 0 }

// servers are what answers on one backend.
type servers struct {
	host     *Host
	unwell   atomic.Bool
	lock     sync.Mutex
	stopped  bool
	closers  map[io.Closer]bool
	finished sync.WaitGroup
}

// Revive starts the host's servers, all well. It does nothing while they run.
func (h *Host) Revive() error {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.servers != nil {
		return nil
	}
	s := &servers{host: h, closers: map[io.Closer]bool{}}
	if err := s.start(h.ports); err != nil {
		s.stop()
		return fmt.Errorf("starting the servers of %s: %w", h.Name, err)
	}
	h.servers = s
	return nil
}

// Kill ends the host's servers and their connections, as the death of their
// process would: the kernel then refuses new connections.
func (h *Host) Kill() {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.servers != nil {
		h.servers.stop()
		h.servers = nil
	}
}

// SetWell says what /healthz answers: 200, or 503. Everything else still works.
func (h *Host) SetWell(well bool) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.servers != nil {
		h.servers.unwell.Store(!well)
	}
}

func (s *servers) start(ports Ports) error {
	for _, port := range ports.HTTP {
		if err := s.listen(port, s.serveHTTP); err != nil {
			return err
		}
	}
	for _, port := range ports.TCP {
		if err := s.listen(port, s.serveTCP); err != nil {
			return err
		}
	}
	for _, port := range ports.UDP {
		if err := s.listenUDP(port); err != nil {
			return err
		}
	}
	return nil
}

// keep remembers what stop has to close, and refuses once it has.
func (s *servers) keep(c io.Closer) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.stopped {
		c.Close()
		return false
	}
	s.closers[c] = true
	return true
}

func (s *servers) forget(c io.Closer) {
	c.Close()
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.closers, c)
}

func (s *servers) stop() {
	s.lock.Lock()
	s.stopped = true
	for c := range s.closers {
		c.Close()
	}
	s.lock.Unlock()
	s.finished.Wait()
}

func (s *servers) listen(port uint16, serve func(net.Listener)) error {
	listener, err := s.host.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	s.keep(listener)
	s.finished.Go(func() { serve(listener) })
	return nil
}

func (s *servers) serveHTTP(listener net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, s.host.Name)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if s.unwell.Load() {
			http.Error(w, "unwell", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "well")
	})
	server := &http.Server{Handler: mux}
	if s.keep(server) {
		_ = server.Serve(listener) // returns when stop closes it
	}
}

func (s *servers) serveTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && s.keep(conn) {
			s.finished.Go(func() { s.converse(conn) })
		}
	}
}

func (s *servers) converse(conn net.Conn) {
	defer s.forget(conn)
	fmt.Fprintln(conn, s.host.Name)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if _, err := fmt.Fprintln(conn, s.host.Name, lines.Text()); err != nil {
			return
		}
	}
}
