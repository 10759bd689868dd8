package test

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/vagrant"
)

// machines are those of the Vagrantfile.
func machines(t *testing.T, environment ...string) []vagrant.Machine {
	t.Helper()
	all, err := vagrant.Read("../Vagrantfile", environment...)
	if errors.Is(err, vagrant.ErrNoRuby) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVagrantFindsNothingWrongWithItsFile(t *testing.T) {
	path, err := exec.LookPath("vagrant")
	if err != nil {
		t.Skip("vagrant is not here: apt-get install vagrant")
	}
	cmd := exec.Command(path, "validate", "--ignore-provider")
	cmd.Dir = ".."
	// Its dotfiles are not for a clone.
	cmd.Env = append(os.Environ(), "VAGRANT_HOME="+t.TempDir(), "VAGRANT_DOTFILE_PATH="+t.TempDir(), "VAGRANT_CHECKPOINT_DISABLE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "validated successfully") || strings.Contains(string(out), "very often used") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheVagrantfileHasTheMachinesOfItsDocument(t *testing.T) {
	roles, addresses := map[string]int{}, map[string]string{}
	document := read(t, "docs/vagrant.md")
	for _, m := range machines(t, "POINTSMAN_BOX=example/debian") {
		script := m.Script()
		roles[script.Env["ROLE"]]++
		if m.Box != "example/debian" || m.Hostname != m.Name || script.Env["NAME"] != m.Name || script.Path != "packaging/provision.sh" || script.Run != "always" {
			t.Errorf("%s is %+v", m.Name, m)
		}
		if m.Networks[0].IP != script.Env["ADDRESS"] || !strings.Contains(document, script.Env["ADDRESS"]) {
			t.Errorf("%s has %v, is told to have %s, and the document says otherwise or nothing", m.Name, m.Networks, script.Env["ADDRESS"])
		}
		for _, network := range m.Networks {
			if other := addresses[network.IP]; other != "" {
				t.Errorf("%s and %s are both %s", other, m.Name, network.IP)
			}
			addresses[network.IP] = m.Name
		}
	}
	for role, want := range map[string]int{"client": 1, "router": 1, "balancer": 2, "backend": 3, "consul": 1} {
		if roles[role] != want {
			t.Errorf("of role %s there are %d machines, and should be %d", role, roles[role], want)
		}
	}
}

func TestTheVagrantfileSaysAllThatItsScriptWantsToKnow(t *testing.T) {
	var want []string
	for _, line := range regexp.MustCompile(`(?m)^#   ([A-Z].*)$`).FindAllString(read(t, "packaging/provision.sh"), -1) {
		want = append(want, regexp.MustCompile(`\b[A-Z][A-Z_]{2,}\b`).FindAllString(line, -1)...)
	}
	want = slices.DeleteFunc(want, func(name string) bool { return name == "ROOT" })
	slices.Sort(want)
	for _, m := range machines(t) {
		var got []string
		for name := range m.Script().Env {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s is told %q, and the script wants %q", m.Name, got, want)
		}
	}
}
