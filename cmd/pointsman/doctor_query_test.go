package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/doctor"
	"github.com/pointsman/pointsman/test/consul"
)

// Of three servers one is left, which can elect nobody. What mends it is typed where
// a server is, and shows who is missing.
func TestTheDoctorFindsThatServersHaveNoLeader(t *testing.T) {
	binary := findConsul(t)
	cluster, err := consul.StartCluster(t.Context(), consul.Options{Binary: binary}, "near")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	e := &examinedConsul{t, cluster.Agents[0], binary, filepath.Join(t.TempDir(), "pointsman.hcl")}
	e.watch(2, "", "consul {}")
	e.isWell()
	for _, server := range cluster.Servers[1:] {
		e.must(server.Kill())
	}
	// The one that is left may lead until it has missed the others.
	e.await(func() error {
		if leader, err := cluster.Leader(); err == nil {
			return fmt.Errorf("%s leads", leader.HTTP)
		}
		return nil
	})
	mend := e.finds(doctor.Failure, "consul-no-leader").Mend
	if said, err := e.types(mend); err == nil {
		t.Errorf("%q shows servers all the same: %s", mend, said)
	}
	for _, server := range cluster.Servers[1:] {
		e.must(server.RestartAlone(t.Context()))
	}
	e.isWell()
	said, err := e.types(mend)
	if err != nil || strings.Count(said, "server-") != 3 || !strings.Contains(said, "leader") {
		t.Errorf("%q shows %q, %v", mend, said, err)
	}
}

func TestTheDoctorFindsWhatConsulDoesNotUnderstand(t *testing.T) {
	e := examineConsul(t, consul.Options{}, 1, "")
	build := exec.Command("go", "build", "-o", filepath.Join(t.TempDir(), "pointsman"), ".")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for name, row := range map[string]struct{ block, tells string }{
		"a filter that does not parse":          {`consul { filter = "Service.ID ==" }`, "filter"},
		"a filter on a field that is not there": {`consul { filter = "Servce.ID == a" }`, "Servce"},
		"a datacenter that is nowhere":          {`consul { datacenter = "atlantis" }`, "atlantis"},
	} {
		t.Run(name, func(t *testing.T) {
			e := e.in(t)
			e.watch(1, "", row.block)
			found := e.finds(doctor.Failure, "consul-query")
			if found.About != "service s0" {
				t.Errorf("it is about %q", found.About)
			}
			// It shows the service with what is wrong with it.
			said, err := e.types(strings.Replace(found.Mend, "pointsman", build.Args[3], 1))
			if err == nil || !strings.Contains(said, row.tells) || !strings.Contains(said, "s0") {
				t.Errorf("%q shows %q, %v", found.Mend, said, err)
			}
			e.watch(1, "", "consul {}")
			e.isWell()
		})
	}
}

// types types a line at a shell that knows the agent, and returns what it shows.
func (e *examinedConsul) types(line string) (string, error) {
	cmd := exec.Command("sh", "-ec", line)
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+e.agent.HTTP, "CONSUL_HTTP_TOKEN="+e.agent.Token, "PATH="+filepath.Dir(e.binary)+":"+os.Getenv("PATH"))
	said, err := cmd.CombinedOutput()
	return string(said), err
}
