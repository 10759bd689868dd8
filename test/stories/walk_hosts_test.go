package stories

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pointsman/pointsman/test/lab"
)

// home is a host with places of its own: what a document calls /etc/pointsman is the
// host's, and not this machine's. It has systemd's stand-in, and what runs by that.
type home struct {
	*lab.Host
	holder  *lab.Process // of its mount namespace
	manager *lab.Process // systemd's stand-in
	behind  *lab.Process // what was typed with &
	said    *os.File     // what that prints
	read    int          // so much of it
}

// ownPlaces lays a file system that is forgotten over all that a host writes to, and puts
// systemd's stand-in into it. What this machine has of the programs in question is gone.
const ownPlaces = `
mount -t tmpfs none /mnt
for place in etc usr var srv tmp; do
	mkdir -p /mnt/of/$place /mnt/work/$place /$place
	mount -t overlay overlay -o "lowerdir=/$place,upperdir=/mnt/of/$place,workdir=/mnt/work/$place" /$place
done
rm -rf /etc/pointsman /etc/consul.d /var/lib/pointsman /var/lib/consul /usr/local/bin/pointsman /usr/local/bin/consul /usr/bin/pointsman
rm -rf /etc/systemd/system/* /usr/lib/systemd/system/pointsman.service*
for name in /usr/bin/systemctl /usr/lib/systemd/systemd; do
	mkdir -p "${name%/*}" && rm -f $name && touch $name && mount --bind "$1" $name
done
mount -t tmpfs none /run
mount -t bpf none /sys/fs/bpf
echo ready
exec sleep infinity`

// settle gives a host its places. It is not booted yet.
func (w *walker) settle(host *lab.Host) *home {
	w.t.Helper()
	self, err := os.Executable()
	w.must(err)
	h := &home{Host: host}
	h.holder = w.startReady(h, exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", ownPlaces, "sh", self))
	w.homes[host.Name] = h
	return h
}

// boot starts systemd's stand-in, and by it what starts with the host.
func (w *walker) boot(h *home) {
	w.t.Helper()
	h.manager = w.startReady(h, w.at(h, "/usr/lib/systemd/systemd"))
}

// cut pulls a host's cables, and ends all that runs on it at once.
func (w *walker) cut(h *home) {
	w.t.Helper()
	w.must(h.Unplug())
	w.must(h.manager.Stop())
}

// bootAgain boots a host after cut. Files are what it has kept; what was in memory, what
// was pinned and where packets go is forgotten.
func (w *walker) bootAgain(h *home) {
	w.t.Helper()
	w.runs(h, "umount -l /sys/fs/bpf /run; mount -t tmpfs none /run; mount -t bpf none /sys/fs/bpf; ip route flush proto boot")
	w.must(h.Plug())
	w.boot(h)
}

// startReady starts what says "ready" when it is. What it says otherwise is in the log.
func (w *walker) startReady(h *home, cmd *exec.Cmd) *lab.Process {
	w.t.Helper()
	read, write, err := os.Pipe()
	w.must(err)
	defer read.Close()
	log, err := os.OpenFile(w.log(h.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = write, log
	process, err := h.Start(cmd)
	write.Close()
	w.must(err)
	if said, err := bufio.NewReader(read).ReadString('\n'); said != "ready\n" {
		w.t.Fatalf("starting %s on %s: %q, %v", cmd.Path, h.Name, said, err)
	}
	return process
}

// log is where a host's services write.
func (w *walker) log(host string) string { return filepath.Join(w.lab.Dir, host+".log") }

// at is a command in the host's places, with the walker's environment and no other.
func (w *walker) at(h *home, line ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", h.holder.PID()), "--"}, line...)...)
	cmd.Env = w.environment
	return cmd
}

// runs runs a script on the host that must not fail, and returns all that it prints.
func (w *walker) runs(h *home, script string, args ...string) string {
	w.t.Helper()
	said, err := w.finish(h, w.at(h, append([]string{"sh", "-ec", script, "sh"}, args...)...))
	if err != nil {
		w.t.Fatalf("on %s, %s: %v: %s", h.Name, script, err, said)
	}
	return said
}

func (w *walker) finish(h *home, cmd *exec.Cmd) (string, error) {
	w.t.Helper()
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	process, err := h.Start(cmd)
	w.must(err)
	err = process.Wait()
	return said.String(), err
}
