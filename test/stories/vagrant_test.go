package stories

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/consul"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/script"
	"github.com/pointsman/pointsman/test/vagrant"
)

// consulPatience is for what an agent of Consul does when it likes: a service that it
// could not make known, since nobody led, it makes known 15 to 30 seconds later.
const consulPatience = 90 * time.Second

// The document is followed from `make packages` to `vagrant destroy`, in the network and
// by the script that the Vagrantfile names. What Vagrant would do is done here.
func TestPrivilegedTheNetworkOfTheVagrantfileDoesWhatItsDocumentShows(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and BPF programs need root")
	}
	if _, err := os.Stat("/usr/bin/python3"); err != nil { // the backends' server is in it
		t.Skip("python3 is not here: apt-get install python3")
	}
	v := &vagrants{clone: t.TempDir()}
	v.build(t)
	l := lab.ForTest(t, lab.Options{Machines: v.network(t), MTU: 1500})
	v.walker = newWalker(t, l)
	v.patience = consulPatience
	v.aside = v.does
	v.follows("docs/vagrant.md", 30)
	if len(v.up) > 0 {
		t.Errorf("when all is done, %q are up", v.up)
	}
}

// vagrants is a walker through what Vagrant would have made.
type vagrants struct {
	*walker
	clone    string // of the repository, as far as the Vagrantfile looks into it
	machines []vagrant.Machine
	up       []string // those that run
}

// build makes what `make packages consul` does, but for two things: the deb is packed by
// dpkg-deb, of the same files and scripts, and consul is a script that runs the one of the
// tests, which is too large for each host's own memory.
func (v *vagrants) build(t *testing.T) {
	t.Helper()
	binary, err := consul.Find(t.Context(), t.Logf)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	out, err := exec.Command("sh", "-euc", `
		mkdir -p "$1/bin/packages" "$1/bin/deb/DEBIAN"
		cp -r ../../Vagrantfile ../../packaging "$1"
		ln -s "$PWD/../../README.md" "$PWD/../../LICENSE" "$PWD/../../docs" "$1"
		printf '#!/bin/sh\nexec %s "$@"\n' "$3" >"$1/bin/consul"; chmod 755 "$1/bin/consul"
		cd "$1"
		packaging/stage.sh "$2" bin/root; mv bin/root/* bin/deb
		install -D -m 640 packaging/pointsman.hcl bin/deb/etc/pointsman/pointsman.hcl
		for script in postinst:postinstall prerm:preremove postrm:postremove; do
			install -m 755 "packaging/scripts/${script#*:}.sh" "bin/deb/DEBIAN/${script%:*}"
		done
		echo /etc/pointsman/pointsman.hcl >bin/deb/DEBIAN/conffiles
		printf '%s\n' 'Package: pointsman' 'Version: 1' 'Architecture: all' 'Maintainer: test' 'Description: test' >bin/deb/DEBIAN/control
		dpkg-deb --root-owner-group --build bin/deb bin/packages/pointsman_1_amd64.deb`,
		"sh", v.clone, program, binary).CombinedOutput()
	if err != nil {
		t.Fatalf("making the package: %v: %s", err, out)
	}
	v.machines, err = vagrant.Read(filepath.Join(v.clone, "Vagrantfile"))
	if errors.Is(err, vagrant.ErrNoRuby) {
		t.Skip(err)
	}
	must(err)
}

// network is the machines' as the lab builds it. The first interface of a machine is
// Vagrant's own, and not there.
func (v *vagrants) network(t *testing.T) (all []lab.Machine) {
	t.Helper()
	for _, m := range v.machines {
		machine := lab.Machine{Name: m.Name}
		for i, on := range m.Networks {
			address, err := netip.ParseAddr(on.IP)
			if err != nil {
				t.Fatalf("an address of %s: %v", m.Name, err)
			}
			bits, _ := net.IPMask(net.ParseIP(on.Netmask).To4()).Size()
			machine.Interfaces = append(machine.Interfaces,
				lab.Interface{Name: fmt.Sprintf("eth%d", i+1), Network: on.Name, Address: netip.PrefixFrom(address, bits)})
		}
		all = append(all, machine)
	}
	return all
}

// does does what the document has its reader type outside of the machines.
func (v *vagrants) does(step script.Step) (said string, did bool) {
	v.t.Helper()
	if step.Host != "" {
		if !slices.Contains(v.up, step.Host) {
			v.t.Fatalf("line %d: %s is not up", step.Line, step.Host)
		}
		return "", false
	}
	for _, command := range strings.Split(step.Command, " && ") {
		words := strings.Fields(command)
		switch {
		case command == "make packages consul": // done by build
		case len(words) < 2 || words[0] != "vagrant":
			v.t.Fatalf("line %d: %q is not done here", step.Line, command)
		case words[1] == "ssh": // by their prompts, lines find their hosts
		default:
			v.each(words[1], slices.DeleteFunc(words[2:], func(w string) bool { return w == "-f" }))
		}
	}
	return "", true
}

// each does with the machines that are named, or with all, what Vagrant would.
func (v *vagrants) each(verb string, names []string) {
	v.t.Helper()
	for i, m := range v.machines {
		if len(names) > 0 && !slices.Contains(names, m.Name) {
			continue
		}
		runs := slices.Contains(v.up, m.Name)
		switch h := v.homes[m.Name]; {
		case verb == "up" && !runs:
			v.up = append(v.up, m.Name)
			if h != nil {
				v.bootAgain(h)
				v.silent(m.Name, v.provision(h, m))
				continue
			}
			h = v.settle(v.lab.Machines[i])
			v.boot(h)
			v.t.Logf("vagrant up %s\n%s", m.Name, v.provision(h, m))
		case verb == "provision" && runs:
			before := v.state(h)
			v.silent(m.Name, v.provision(h, m))
			if after := v.state(h); after != before && len(names) == 0 {
				v.t.Errorf("the script has run again on %s, which was\n%s\nand is\n%s", m.Name, before, after)
			}
		case verb == "halt" && runs, verb == "destroy" && runs:
			v.cut(h)
			v.forget(m)
			v.up = slices.DeleteFunc(v.up, func(name string) bool { return name == m.Name })
		case verb == "up", verb == "halt", verb == "destroy", verb == "provision":
		default:
			v.t.Fatalf("vagrant %s is not done here", verb)
		}
	}
}

// provision puts files into a machine and runs its script, as Vagrant does at each start.
func (v *vagrants) provision(h *home, m vagrant.Machine) (said string) {
	v.t.Helper()
	for _, p := range m.Provisioners {
		switch p.Kind {
		case "file":
			v.runs(h, `cp "$1" "$2"`, p.Source, p.Destination)
		case "shell":
			cmd := v.at(h, "sh", filepath.Join(v.clone, p.Path))
			for name, value := range p.Env {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			out, err := v.finish(h, cmd)
			if err != nil {
				v.t.Fatalf("making %s what it is: %v: %s", m.Name, err, out)
			}
			said += out
		default:
			v.t.Fatalf("%s has a provisioner of kind %s", m.Name, p.Kind)
		}
	}
	return said
}

// forget has the others forget where a machine is that is off, as they do within a minute.
// Until then a switch floods what is sent there, and a balancer that overhears it sends it
// on: nobody would miss the machine.
func (v *vagrants) forget(off vagrant.Machine) {
	v.t.Helper()
	for _, name := range v.up {
		for _, on := range off.Networks {
			v.runs(v.homes[name], `ip neigh flush to "$1"`, on.IP)
		}
	}
}

// silent is for a script that finds its files as they should be.
func (v *vagrants) silent(name, said string) {
	v.t.Helper()
	if said != "" {
		v.t.Errorf("the script runs again on %s, and says\n%s", name, said)
	}
}

// state is all that the script makes: files that are not as on a bare machine, where
// packets go, and which processes run.
func (v *vagrants) state(h *home) string {
	v.t.Helper()
	return v.runs(h, `
		find /mnt/of -type f ! -path '/mnt/of/tmp/*' ! -path '/mnt/of/var/lib/consul/*' ! -path '/mnt/of/var/lib/pointsman/*' -printf '%p %i %C@\n' | sort
		ip route; ip -4 address show lo; sysctl net.ipv4.ip_forward net.ipv4.fib_multipath_hash_policy
		for name in consul pointsman web; do systemctl show -p MainPID $name; done`)
}
