package lab

import "testing"

func TestOnlyWhatALabNamedIsALabs(t *testing.T) {
	for _, row := range []struct {
		promise string
		place   place
		name    string
		prefix  string // "" is not a lab's
	}{
		{"a host's namespace is", places[0], "pm12-backend-3", "pm12"},
		{"a namespace of a process's second lab is", places[0], "pm12_2-switch-a", "pm12_2"},
		{"so is one of a machine that somebody else described", places[0], "pm12-consul", "pm12"},
		{"an operator's namespace is not", places[0], "pm12-vpn", ""},
		{"a lab's pins are", places[1], "pointsman-lab-pm12", "pm12"},
		{"the pins of a real balancer are not", places[1], "pointsman", ""},
		{"a lab's directory is", places[2], "pointsman-lab-pm12_3", "pm12_3"},
		{"a file with a name like a prefix is not", places[2], "pm12", ""},
	} {
		t.Run(row.promise, func(t *testing.T) {
			prefix := ""
			if m := row.place.name.FindStringSubmatch(row.name); m != nil {
				prefix = m[1]
			}
			if prefix != row.prefix {
				t.Errorf("%s is taken for one of %q, want %q", row.name, prefix, row.prefix)
			}
		})
	}
}
