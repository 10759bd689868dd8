package systemd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// runtimeDir is where whoever asks whether there is a systemd looks.
const (
	runtimeDir = "/run/systemd/system"
	socket     = "/run/systemd/private"
)

// PlayPart is for the beginning of a test's main function: a process that was started as
// systemd is the manager of its host, and one that was started as systemctl asks it. Both
// end here.
func PlayPart() {
	var code int
	var err error
	switch filepath.Base(os.Args[0]) {
	case "systemd":
		err = serve()
	case "systemctl":
		code, err = ask(os.Args[1:])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// reply is what systemctl prints, and exits with.
type reply struct {
	Out  string
	Code int
}

func ask(words []string) (int, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0, fmt.Errorf("asking systemd: %w", err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(words); err != nil {
		return 0, err
	}
	var r reply
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return 0, fmt.Errorf("asking systemd: %w", err)
	}
	fmt.Print(r.Out)
	return r.Code, nil
}

// manager has the services of a host.
type manager struct {
	lock     sync.Mutex // held for a request
	services map[string]*service
	out      strings.Builder // of the request at hand
}

// serve starts what starts with the machine, says that it is ready, and answers until it
// is told to end, which is a power cut for the services.
func serve() error {
	if err := os.MkdirAll(runtimeDir, 0o755); err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	m := &manager{services: map[string]*service{}}
	links, err := filepath.Glob(filepath.Join(wants, "*.service"))
	if err != nil {
		return err
	}
	for _, link := range links {
		_ = m.each("start", []string{filepath.Base(link)}) // what fails is said in the log
	}
	over := make(chan os.Signal, 1)
	signal.Notify(over, syscall.SIGTERM)
	fmt.Println("ready")
	go func() {
		<-over
		m.cut()
		os.Exit(0)
	}()
	for { // one request at a time, as one operator types
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		var words []string
		if err := json.NewDecoder(conn).Decode(&words); err == nil {
			_ = json.NewEncoder(conn).Encode(m.answer(words))
		}
		conn.Close()
	}
}

// cut ends all services at once. Without it they would die with their starter, but
// nobody would know when.
func (m *manager) cut() {
	m.lock.Lock()
	for _, s := range m.services {
		if s.active() {
			s.stop()
			_ = s.signal(syscall.SIGKILL)
			s.end()
		}
	}
}

func (m *manager) answer(words []string) reply {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.out.Reset()
	code := 0
	if err := m.obey(words); err != nil {
		code = 1
		var inactive inactiveError
		if errors.As(err, &inactive) {
			code = 3
		} else {
			fmt.Fprintln(&m.out, err)
		}
	}
	return reply{m.out.String(), code}
}

type inactiveError struct{ error }

// obey does what systemctl was told: options, a verb, units.
func (m *manager) obey(words []string) error {
	now, quiet, property, kill := false, false, "", syscall.SIGTERM
	var rest []string
	for i := 0; i < len(words); i++ {
		switch word := words[i]; {
		case word == "--now":
			now = true
		case word == "-q":
			quiet = true
		case word == "-p" && i+1 < len(words):
			i++
			property = words[i]
		case word == "-s" && i+1 < len(words):
			i++
			kill = unix.SignalNum("SIG" + words[i])
		case strings.HasPrefix(word, "-"):
			return fmt.Errorf("%s is not understood here", word)
		default:
			rest = append(rest, word)
		}
	}
	if len(rest) == 0 {
		return errors.New("what to do?")
	}
	verb, names := rest[0], rest[1:]
	switch verb {
	case "daemon-reload": // units are read when they are needed
		return nil
	case "kill":
		return m.signal(names, kill)
	case "show":
		return m.show(names, property)
	case "is-active":
		return m.isActive(names, quiet)
	}
	if err := m.each(verb, names); err != nil || !now {
		return err
	}
	return m.each(map[string]string{"enable": "start", "disable": "stop"}[verb], names)
}

func (m *manager) each(verb string, names []string) error {
	for _, name := range names {
		if err := m.does(verb, name); err != nil {
			err = fmt.Errorf("%s of %s: %w", verb, name, err)
			fmt.Fprintln(os.Stderr, "systemd:", err)
			return err
		}
	}
	return nil
}

func (m *manager) does(verb, name string) error {
	unit, err := find(name)
	if err != nil {
		return err
	}
	s := m.services[unit.Name]
	if s == nil {
		s = &service{}
		m.services[unit.Name] = s
	}
	switch verb {
	case "enable":
		return m.enable(unit)
	case "disable":
		return os.Remove(unit.link())
	case "stop":
		s.end()
		return nil
	case "reload":
		if !s.active() {
			return errors.New("it does not run")
		}
		words := unit.command("ExecReload", s.mainPID())
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	case "try-restart":
		if !s.active() {
			return nil
		}
		s.end()
	case "restart":
		s.end()
	case "start":
		if s.active() {
			return nil
		}
	default:
		return errors.New("is not understood here")
	}
	s.unit = unit
	return s.start()
}

func (m *manager) enable(unit Unit) error {
	if _, err := os.Lstat(unit.link()); err == nil {
		return nil
	}
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(&m.out, "Created symlink %s → %s.\n", unit.link(), unit.Path)
	return os.Symlink(unit.Path, unit.link())
}

func (m *manager) signal(names []string, signal syscall.Signal) error {
	for _, name := range names {
		if s := m.services[name]; s != nil {
			if err := s.signal(signal); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *manager) show(names []string, property string) error {
	for _, name := range names {
		s := m.services[name]
		if s == nil {
			s = &service{}
		}
		s.mu.Lock()
		value, known := map[string]int{"MainPID": s.pid, "NRestarts": s.restarts}[property]
		s.mu.Unlock()
		if !known {
			return fmt.Errorf("property %q is not known here", property)
		}
		fmt.Fprintf(&m.out, "%s=%d\n", property, value)
	}
	return nil
}

func (m *manager) isActive(names []string, quiet bool) error {
	active := !slices.ContainsFunc(names, func(name string) bool { return m.services[name] == nil || !m.services[name].active() })
	state := "active"
	if !active {
		state = "inactive"
	}
	if !quiet {
		fmt.Fprintln(&m.out, state)
	}
	if !active {
		return inactiveError{errors.New(state)}
	}
	return nil
}
