package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// pointsmanDecap runs the command and returns its exit code, stdout and stderr.
func pointsmanDecap(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(context.Background(), append([]string{"pointsman", "decap"}, args...), strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestDecapRefusesWhatCannotBeMeant(t *testing.T) {
	rows := []struct {
		name, args, want string
	}{
		{"nothing to do", "", "give at least one --vip, or --config, or --off"},
		{"tunnel packets from anybody", "--vip 192.0.2.10", "give the balancers' addresses with --from, or --no-program"},
		{"a VIP with a port", "--vip 192.0.2.10:80 --from 10.0.0.1", `--vip takes an address or a prefix, without a port, not "192.0.2.10:80"`},
		{"a VIP of one link", "--vip fe80::1%eth0 --from 10.0.0.1", `not "fe80::1%eth0"`},
		{"a prefix with bits beyond its length", "--vip 192.0.2.10/24 --from 10.0.0.1", "did you mean 192.0.2.0/24?"},
		{"balancers by name", "--vip 192.0.2.10 --from balancer-1", `--from takes an address or a prefix, not "balancer-1"`},
		{"a mode that does not exist", "--vip 192.0.2.10 --from 10.0.0.1 --mode native", "--mode takes auto, xdp, generic or tc"},
		{"on and off at once", "--off --vip 192.0.2.10", "take neither --vip nor --from, --map, --out or --no-program"},
		{"off and counters at once", "--off --counters", "exclude each other"},
		{"lingering in the past", "--config pointsman.hcl --from 10.0.0.1 --linger -1s", "--linger takes no negative duration"},
		{"counters of a file", "--counters --config pointsman.hcl", "do not follow a --config"},
		{"a file and tunnel packets from anybody", "--config pointsman.hcl", "give the balancers' addresses with --from"},
		{"counters and mappings at once", "--mappings --counters", "exclude each other"},
		{"a mapping without a protocol", "--vip 192.0.2.10 --from 10.0.0.1 --map 192.0.2.10:443=20001", `not "192.0.2.10:443=20001"`},
		{"a mapping of another protocol", "--vip 192.0.2.10 --from 10.0.0.1 --map 192.0.2.10:443/sctp=20001", "--map takes VIP:PORT/PROTOCOL=PORT"},
		{"a mapping to port 0", "--vip 192.0.2.10 --from 10.0.0.1 --map 192.0.2.10:443/tcp=0", "--map takes VIP:PORT/PROTOCOL=PORT"},
		{"a mapping of all ports", "--vip 192.0.2.10 --from 10.0.0.1 --map 192.0.2.10:0/tcp=20001", "--map takes VIP:PORT/PROTOCOL=PORT"},
		{"a mapping that is there", "--off --map 192.0.2.10:443/tcp=20001", "they are about what is there"},
		{"an argument that belongs to no flag", "eth0 --off", "takes no arguments"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			args := append(strings.Fields(row.args), "--state-file", filepath.Join(t.TempDir(), "decap.json"))
			code, _, stderr := pointsmanDecap(args...)
			if code != exitUsage || !strings.Contains(stderr, row.want) || !strings.Contains(stderr, "pointsman decap --help") {
				t.Errorf("exit code %d, %s", code, stderr)
			}
		})
	}
}
