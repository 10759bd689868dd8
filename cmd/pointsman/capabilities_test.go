package main

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	const bpf, perfmon, admin, sysAdmin = 1 << unix.CAP_BPF, 1 << unix.CAP_PERFMON, 1 << unix.CAP_NET_ADMIN, 1 << unix.CAP_SYS_ADMIN
	for _, row := range []struct {
		has  uint64
		want string // is missing
	}{
		{bpf | perfmon | admin, ""},
		{sysAdmin | admin, ""},
		{sysAdmin, "CAP_NET_ADMIN"},
		{bpf | perfmon, "CAP_NET_ADMIN"},
		{bpf | admin, "CAP_PERFMON"},
		{perfmon | admin, "CAP_BPF"},
		{0, "CAP_BPF CAP_PERFMON CAP_NET_ADMIN"},
	} {
		text := ""
		if err := lacking(row.has, "/usr/local/bin/pointsman"); err != nil {
			text = err.Error()
		}
		lacks, advice, _ := strings.Cut(text, "; ")
		for _, c := range needed {
			if want := strings.Contains(row.want, c.name); strings.Contains(lacks, c.name) != want {
				t.Errorf("with %x it says %q, want %q", row.has, text, row.want)
			}
		}
		if (text != "") != strings.Contains(advice, "setcap cap_bpf,cap_perfmon,cap_net_admin+ep /usr/local/bin/pointsman") {
			t.Errorf("with %x the advice is %q", row.has, advice)
		}
	}
}
