// Package doctor says what is wrong with a host that balances, or with a
// backend, and gives the command that mends it. The rules are functions of
// Facts; gathering these decides nothing, and changes nothing on the host.
package doctor

import (
	"cmp"
	"slices"
	"strings"
)

// Kind names what was found, for scripts and for the table of docs/doctor.md.
type Kind string

// Level says how bad a finding is.
type Level string

// A Failure keeps packets from being forwarded, or Pointsman from running; with a
// Warning they are, but not as they should be.
const (
	Failure Level = "failure"
	Warning Level = "warning"
)

// Finding is one thing that is wrong.
type Finding struct {
	Level Level  `json:"level"`
	Kind  Kind   `json:"finding"`
	About string `json:"about"` // an interface, an address, a sysctl …
	What  string `json:"what"`
	// Mend is a line for a root's shell on this host. Where what is wrong is
	// elsewhere, it is what shows more of it, and Advice says what to do.
	Mend   string `json:"mend"`
	Advice string `json:"advice,omitempty"`
}

// rule finds things of some kinds.
type rule struct {
	kinds []Kind
	find  func(Facts) []Finding
}

// rules are in the order in which to mend: what is below comes before what
// stands on it.
var rules = slices.Concat(hostRules, linkRules, wayRules, consulRules, backendRules)

// Kinds are all that Examine can find, in its order.
func Kinds() (all []Kind) {
	for _, r := range rules {
		all = append(all, r.kinds...)
	}
	return all
}

// Examine finds all that is wrong with a host, in the order in which to mend it.
func Examine(f Facts) []Finding {
	found := []Finding{}
	for _, r := range rules {
		found = append(found, r.find(f)...)
	}
	return found
}

// Worst is the level of the worst finding, "" where there is none.
func Worst(found []Finding) (worst Level) {
	for _, f := range found {
		if worst != Failure {
			worst = f.Level
		}
	}
	return worst
}

// run is a command of this program that is about what is pinned.
func (f Facts) run(command string) string {
	if f.PinDir == "" {
		return f.Program + " " + command
	}
	return f.Program + " " + command + " --pin-dir " + quote(f.PinDir)
}

// quote is a word as a shell takes it.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=+@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// byName orders what maps hold.
func byName[T any](of map[string]T) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names
}
