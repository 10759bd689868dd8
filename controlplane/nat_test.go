package controlplane

import (
	"testing"

	"github.com/pointsman/pointsman/controlplane/config"
)

func TestSourcePortsMustNotBeTheHostsOwn(t *testing.T) {
	for _, row := range []struct {
		promise     string
		first, last uint16
		local       string
		overlap     bool
	}{
		{"below them", 1024, 32767, "32768\t60999\n", false},
		{"above them", 61000, 65535, "32768\t60999\n", false},
		{"one port in common", 1024, 32768, "32768\t60999\n", true},
		{"at the other end", 60999, 65535, "32768\t60999\n", true},
		{"all of them", 1024, 65535, "32768 60999", true},
		{"what cannot be read is no reason to warn", 1024, 65535, "", false},
	} {
		if text := overlapping(config.PortRange{First: row.first, Last: row.last}, row.local); (text != "") != row.overlap {
			t.Errorf("%s: %q", row.promise, text)
		}
	}
}
