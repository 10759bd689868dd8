package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// longestSocket is what fits an address of a unix socket.
const longestSocket = len(unix.RawSockaddrUnix{}.Path) - 1

// Listen opens the socket, readable and writable for its owner and for the
// group "pointsman" if there is one. A socket that a dead daemon left behind
// is replaced; one that somebody answers on is not, nor is anything else.
func Listen(path string) (net.Listener, error) {
	listener, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("opening the socket: %w", err)
	}
	return listener, nil
}

func listen(path string) (net.Listener, error) {
	if len(path) > longestSocket {
		return nil, fmt.Errorf("%s is longer than the %d bytes of a socket's path; name a shorter one with --socket", path, longestSocket)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, elsewhere(path, err)
	}
	if err := removeLeftover(path); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, elsewhere(path, err)
	}
	if err := restrict(path); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// elsewhere says what to do where the place cannot be had.
func elsewhere(path string, err error) error {
	var failed *fs.PathError
	var refused *os.SyscallError
	switch {
	case errors.As(err, &failed):
		err = fmt.Errorf("%s: %w", failed.Path, failed.Err)
	case errors.As(err, &refused):
		err = fmt.Errorf("%s: %w", path, refused.Err)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w; whom the daemon runs as must be able to write to %s, or name another place with --socket", err, filepath.Dir(path))
	}
	return fmt.Errorf("%w; name another place with --socket", err)
}

// removeLeftover makes room where a daemon has died.
func removeLeftover(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return elsewhere(path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket; move it away, or name another place with --socket", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		defer conn.Close()
		return fmt.Errorf("%s: another process answers there%s; stop it, or name another place with --socket", path, answering(conn))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return elsewhere(path, err)
	}
	return nil
}

// answering names the process on the other end.
func answering(conn net.Conn) string {
	if cred, known := credentials(conn); known {
		return fmt.Sprintf(", pid %d", cred.Pid)
	}
	return ""
}

func restrict(path string) error {
	if group, err := user.LookupGroup("pointsman"); err == nil {
		gid, err := strconv.Atoi(group.Gid)
		if err != nil {
			return fmt.Errorf("reading the id of group pointsman: %w", err)
		}
		// Under the unit of packaging/ root may give files only to its own groups.
		// Then the socket is root's alone.
		if err := os.Chown(path, -1, gid); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("giving %s to group pointsman: %w", path, err)
		}
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return fmt.Errorf("restricting who may use %s: %w", path, err)
	}
	return nil
}
