package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pointsman/pointsman/"

// parts are the packages of the control plane that have one concern each.
var parts = []string{
	"controlplane/config", "controlplane/discovery/consul", "controlplane/health",
	"controlplane/nexthop", "controlplane/api", "controlplane/capture", "controlplane/decap", "controlplane/statedir", "controlplane/systemd",
	"controlplane/fragments", "controlplane/drops", "controlplane/doctor",
}

// A rule says what a package may import of this module and of what it guards.
type rule struct {
	promise string
	about   func(importer string) bool
	allowed func(imported string) bool
	tests   bool // holds for tests, too
}

var rules = []rule{
	{"maglev imports nothing of ours", is("dataplane/maglev"), foreign, true},
	{"dataplane is pure: the standard library and maglev", is("dataplane"),
		anyOf(standard, is("dataplane/maglev")), false},
	{"desired is pure: the standard library and dataplane", is("controlplane/desired"),
		anyOf(standard, is("dataplane")), false},
	{"the parts of the control plane never import one another, nor what joins them", is(parts...),
		anyOf(foreign, is("dataplane")), false},
	{"the control plane meets the kernel only in cmd", is("controlplane"),
		anyOf(foreign, is(parts...), is("dataplane", "controlplane/desired")), false},
	{"only dataplane/kernel, and who makes traffic by XDP, know cilium/ebpf",
		not(is("dataplane/kernel", "dataplane/kernel/earlier", "test/live")), not(path("github.com/cilium/ebpf")), true},
	{"only those who ask the host's network stack know netlink",
		not(is("dataplane/kernel", "dataplane/kernel/earlier", "controlplane", "controlplane/nexthop", "controlplane/decap", "controlplane/doctor", "test/lab", "test/live")),
		not(path("github.com/vishvananda/netlink")), false},
	{"the data plane in memory, and that of an earlier build, are for tests", not(path(module + "test")),
		not(is("dataplane/fake", "dataplane/kernel/earlier")), false},
	{"nobody imports the command", func(string) bool { return true }, not(is("cmd/pointsman")), true},
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, r := range rules {
			if !r.about(p.ImportPath) {
				continue
			}
			imports := p.Imports
			if r.tests {
				imports = slices.Concat(imports, p.TestImports, p.XTestImports)
			}
			for _, imported := range imports {
				if imported != p.ImportPath && !r.allowed(imported) {
					t.Errorf("%s imports %s, but %s", p.ImportPath, imported, r.promise)
				}
			}
		}
	}
}

// listed is what `go list` says of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...").Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %s", failed.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for _, known := range parts {
		if !slices.ContainsFunc(all, func(p listed) bool { return p.ImportPath == module+known }) {
			t.Errorf("there is no package %s: is the rule about it out of date?", known)
		}
	}
	return all
}

// is names packages of this module.
func is(names ...string) func(string) bool {
	return func(p string) bool { return slices.Contains(names, strings.TrimPrefix(p, module)) }
}

// path is a package and all below it.
func path(prefix string) func(string) bool {
	return func(p string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }
}

func foreign(p string) bool { return !strings.HasPrefix(p, module) }

// standard has no dot in the first element, by Go's convention.
func standard(p string) bool { return !strings.Contains(strings.SplitN(p, "/", 2)[0], ".") }

func not(f func(string) bool) func(string) bool { return func(p string) bool { return !f(p) } }

func anyOf(all ...func(string) bool) func(string) bool {
	return func(p string) bool { return slices.ContainsFunc(all, func(f func(string) bool) bool { return f(p) }) }
}
