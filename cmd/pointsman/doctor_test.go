package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/doctor"
)

var ill = doctorDocument{
	SchemaVersion: 1, Role: "balancer", Config: "/etc/pointsman/pointsman.hcl",
	Findings: []doctor.Finding{
		{Level: doctor.Failure, Kind: "other-program", About: "eth1", What: "another XDP program is attached, id 412, in native mode: it is left alone, and Pointsman's cannot be attached", Mend: "ip link set dev eth1 xdp off"},
		{Level: doctor.Warning, Kind: "queues", About: "eth0", What: "16 of 16 queues are in use, and XDP wants one more for each of 8 CPUs to send without locks", Mend: "ethtool -L eth0 combined 8", Advice: "advice"},
	},
	NotLookedAt: []string{"there is no /etc/pointsman/pointsman.hcl: services, ways to backends and Consul"},
}

func TestTheDoctorPrintsEachFindingWithWhatToType(t *testing.T) {
	well := ill
	well.Findings, well.NotLookedAt = []doctor.Finding{}, []string{}
	for name, d := range map[string]doctorDocument{"doctor.txt": ill, "doctor-well.txt": well} {
		var out, messages bytes.Buffer
		if err := printFindings(&out, &messages, d); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String()+"---- stderr\n"+messages.String())
	}
	for name, d := range map[string]doctorDocument{"doctor.json": ill, "doctor-well.json": well} {
		var out bytes.Buffer
		if err := printJSON(&out, d); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

func TestTheDoctorTellsByItsExitCode(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "none.hcl")
	for _, row := range []struct {
		promise, line string
		code          int
		stdout        string
		stderr        string
	}{
		{"a file that is named and not there is a failure", "doctor --config " + bad, exitFailure, "failure  configuration", ""},
		{"flags of a backend belong to one", "doctor --vip 192.0.2.1", exitUsage, "", "--vip goes with --backend"},
		{"a VIP has no port", "doctor --backend --vip 192.0.2.1:80", exitUsage, "", "--vip takes an address"},
		{"it takes no arguments", "doctor eth0", exitUsage, "", "doctor takes no arguments"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			code, stdout, stderr := command(t, row.line)
			if code != row.code || !strings.Contains(stdout, row.stdout) || !strings.Contains(stderr, row.stderr) {
				t.Errorf("%s: exit %d, stdout %q, stderr %q", row.line, code, stdout, stderr)
			}
		})
	}
}
