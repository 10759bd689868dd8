package controlplane

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another daemon owns the data plane.
var ErrLocked = errors.New("another daemon runs")

// Lock makes the caller the only one to change what is pinned under a folder,
// until the returned file is closed or the process ends, however it ends. The
// lock is on the folder itself, so it cannot miss a daemon with other settings.
func Lock(pinDir string) (*os.File, error) {
	if err := os.MkdirAll(pinDir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for pins: %w; %s", err, noPlace(pinDir, err))
	}
	dir, err := os.Open(pinDir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder for pins: %w", err)
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer dir.Close()
		return nil, fmt.Errorf("taking over %s: %w%s; stop it first", pinDir, ErrLocked, holder(dir))
	}
	if err != nil {
		defer dir.Close()
		return nil, fmt.Errorf("locking %s: %w", pinDir, err)
	}
	return dir, nil
}

// noPlace is what to do where pins have no place.
func noPlace(pinDir string, err error) string {
	if errors.Is(err, unix.EROFS) {
		return fmt.Sprintf("%s is read-only here: under systemd, the unit needs ReadWritePaths=/sys/fs/bpf and no ProtectKernelTunables=", filepath.Dir(pinDir))
	}
	var stat unix.Statfs_t
	if unix.Statfs(filepath.Dir(pinDir), &stat) == nil && stat.Type == unix.BPF_FS_MAGIC {
		return fmt.Sprintf("%s must be writable for the user that the daemon runs as: ls -ld %s", filepath.Dir(pinDir), filepath.Dir(pinDir))
	}
	return fmt.Sprintf("there is no BPF file system on %s; mount one: mount -t bpf bpf /sys/fs/bpf", filepath.Dir(pinDir))
}

// holder names the process that holds the lock, as the kernel tells it in
// /proc/locks: "1: FLOCK  ADVISORY  WRITE 4242 00:1b:77 0 EOF".
func holder(file *os.File) string {
	var stat unix.Stat_t
	if unix.Fstat(int(file.Fd()), &stat) != nil {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 5 && fields[1] == "FLOCK" && fields[5] == id {
			return " as pid " + fields[4]
		}
	}
	return ""
}
