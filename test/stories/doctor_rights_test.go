package stories

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/systemd"
)

// The commands that mend are typed where the ailment is, in a mount namespace of its own.
func TestPrivilegedTheDoctorFindsWhatTheKernelDoesNotOffer(t *testing.T) {
	s := open(t, lab.Options{})
	for _, row := range []struct {
		promise, ail, finds string
		mends               bool
	}{
		{"no BPF file system", "umount --lazy /sys/fs/bpf", "failure bpffs /sys/fs/bpf", true},
		{"one that is read-only", "mount --bind /sys/fs/bpf /sys/fs/bpf; mount -o remount,bind,ro /sys/fs/bpf", "failure bpffs /sys/fs/bpf", true},
		{"no types of the kernel", "mount -t tmpfs none /sys/kernel/btf", "failure btf /sys/kernel/btf/vmlinux", false},
	} {
		t.Run(row.promise, func(t *testing.T) {
			p := s.in(t).balancerPatient()
			p.flags = nil
			p.under = mounts(row.ail)
			d := p.has(row.finds)
			if row.mends && len(d.Findings) > 0 {
				p.under = mounts(row.ail + "; " + d.Findings[0].Mend)
				p.has()
			}
		})
	}
}

func TestPrivilegedTheDoctorFindsMissingCapabilities(t *testing.T) {
	s := open(t, lab.Options{})
	t.Run("that a file can be given", func(t *testing.T) {
		p := s.in(t).balancerPatient()
		dir, err := os.MkdirTemp("", "pointsman-doctor-")
		p.must(err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		p.must(os.Chmod(dir, 0o755))
		own := filepath.Join(dir, "pointsman")
		p.do("install -m 755 " + program + " " + own)
		p.under = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", `shift; exec ` + own + ` "$@"`, "sh"}
		p.flags = nil
		p.mends(p.has("failure capability CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN"))
	})
	t.Run("that nothing started from here can have", func(t *testing.T) {
		p := s.in(t).balancerPatient()
		p.flags = nil
		p.under = systemd.Under("bpf", "perfmon", "sys_admin")
		d := p.has("failure capability CAP_NET_ADMIN")
		if f := d.Findings[0]; !strings.Contains(f.Advice, "CapabilityBoundingSet=") || strings.Contains(f.Mend, "setcap") {
			t.Errorf("the mend is %q, %q", f.Mend, f.Advice)
		}
	})
}
