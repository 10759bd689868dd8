//go:build packages

// Package packages reads the deb and the rpm that make packages has built. It is built
// with the tag "packages" only, for make test-packages.
package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// built is where the only package of a kind is.
func built(t *testing.T, kind string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(os.Getenv("POINTSMAN_PACKAGES"), "*."+kind))
	if err != nil || len(all) != 1 {
		t.Fatalf("of packages there are %q, %v", all, err)
	}
	return all[0]
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// files are those below a folder, with their modes.
func files(t *testing.T, root string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			info, _ := entry.Info()
			all = append(all, info.Mode().String()+" "+strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// Unpacking by rpm runs scripts in the root, where there is no shell: those are read below.
func TestPrivilegedTheRPMInstallsWhatTheDebDoes(t *testing.T) {
	deb, rpm := t.TempDir(), t.TempDir()
	run(t, "dpkg-deb", "-x", built(t, "deb"), deb)
	run(t, "rpm", "--root", rpm, "--dbpath", "/db", "--install", "--noscripts", "--nodeps", "--ignorearch", built(t, "rpm"))
	want, got := files(t, deb), slices.DeleteFunc(files(t, rpm), func(file string) bool { return strings.Contains(file, " /db/") })
	for i := range want {
		want[i] = strings.Replace(want[i], "/zsh/vendor-completions/", "/zsh/site-functions/", 1)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) < 10 {
		t.Errorf("the rpm has\n%s\nand the deb\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, root := range []string{deb, rpm} {
		if said := run(t, filepath.Join(root, "usr/bin/pointsman"), "version"); strings.Contains(said, "unknown") {
			t.Errorf("it is version %s", said)
		}
	}
}

func TestTheFileOfTheOperatorIsNeverOverwritten(t *testing.T) {
	const file = "/etc/pointsman/pointsman.hcl\n"
	if got := run(t, "rpm", "-qpc", built(t, "rpm")); got != file {
		t.Errorf("the configuration of the rpm is %q", got)
	}
	if flags := run(t, "rpm", "-qp", "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]", built(t, "rpm")); !strings.Contains(flags, "/etc/pointsman/pointsman.hcl cn\n") {
		t.Errorf("the flags of the rpm's files are\n%s", flags)
	}
	if got := run(t, "dpkg-deb", "-I", built(t, "deb"), "conffiles"); got != file {
		t.Errorf("the configuration of the deb is %q", got)
	}
}

// TestScriptsDo… in test/ runs them.
func TestBothPackagesHaveTheScriptsThatAreTested(t *testing.T) {
	scripts := run(t, "rpm", "-qp", "--scripts", built(t, "rpm"))
	for name, rpm := range map[string]string{"postinst": "postinstall", "prerm": "preremove", "postrm": "postremove"} {
		text, err := os.ReadFile("../../packaging/scripts/" + rpm + ".sh")
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, "dpkg-deb", "-I", built(t, "deb"), name); got != string(text) {
			t.Errorf("the deb's %s is\n%s", name, got)
		}
		kind := strings.Replace(rpm, "remove", "uninstall", 1)
		if !strings.Contains(scripts, kind+" scriptlet (using /bin/sh):\n"+strings.TrimSpace(string(text))) {
			t.Errorf("the rpm's %s is not %s.sh:\n%s", kind, rpm, scripts)
		}
	}
}
