package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/controlplane/doctor"
	"github.com/pointsman/pointsman/test/consul"
)

// examinedConsul is a real agent that a file on this machine names.
type examinedConsul struct {
	*testing.T
	agent  *consul.Agent
	binary string
	config string
}

// examineConsul has a file whose services are watched; settings go into its consul block.
func examineConsul(t *testing.T, options consul.Options, services int, settings string) *examinedConsul {
	t.Helper()
	options.Binary = findConsul(t)
	agent, err := consul.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Stop(); err != nil {
			t.Error(err)
		}
	})
	e := &examinedConsul{t, agent, options.Binary, filepath.Join(t.TempDir(), "pointsman.hcl")}
	e.watch(services, settings, "consul {}")
	return e
}

func findConsul(t *testing.T) string {
	t.Helper()
	binary, err := consul.Find(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// watch writes the file anew. Each service has the same consul block.
func (e *examinedConsul) watch(services int, settings, block string) {
	e.Helper()
	address := e.agent.HTTP
	if e.agent.HTTPS != "" {
		address = e.agent.HTTPS
	}
	text := fmt.Sprintf("interfaces = [\"lo\"]\nvip_pools = [\"2001:db8:feed::/64\"]\nconsul {\n  address = %q\n  %s\n}\n", address, settings)
	for i := range services {
		text += fmt.Sprintf("service \"s%d\" {\n  listen = [\"[2001:db8:feed::1]:%d/tcp\"]\n  slots = 251\n  %s\n}\n", i, 1000+i, block)
	}
	e.must(os.WriteFile(e.config, []byte(text), 0o600))
}

func (e *examinedConsul) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// found is all that is found about Consul.
func (e *examinedConsul) found() (all []doctor.Finding) {
	e.Helper()
	return e.foundBy("doctor -o json --config " + e.config)
}

func (e *examinedConsul) foundBy(line string) (all []doctor.Finding) {
	e.Helper()
	_, stdout, stderr := command(e.T, line)
	var d doctorDocument
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		e.Fatalf("%q: %v, %s", stdout, err, stderr)
	}
	for _, f := range d.Findings {
		if strings.HasPrefix(string(f.Kind), "consul-") {
			all = append(all, f)
		}
	}
	return all
}

// finds checks that this alone is found, and the same on a backend that reads the file.
func (e *examinedConsul) finds(level doctor.Level, kind doctor.Kind) doctor.Finding {
	e.Helper()
	found := e.found()
	if len(found) != 1 || found[0].Level != level || found[0].Kind != kind {
		e.Fatalf("it finds %+v, want a %s of %s", found, level, kind)
	}
	backend := e.foundBy("doctor --backend --interface lo -o json --config " + e.config)
	if len(backend) != 1 || backend[0].Kind != kind || backend[0].Mend != found[0].Mend {
		e.Errorf("on a backend it finds %+v, want %+v", backend, found)
	}
	return found[0]
}

// isWell waits until nothing is found any more: Consul remembers for a second what a
// token may do.
func (e *examinedConsul) isWell() {
	e.Helper()
	e.comesTo()
}

// comesTo waits until these are all that is found.
func (e *examinedConsul) comesTo(kinds ...doctor.Kind) {
	e.Helper()
	e.await(func() error {
		var now []doctor.Kind
		found := e.found()
		for _, f := range found {
			now = append(now, f.Kind)
		}
		if !slices.Equal(now, kinds) {
			return fmt.Errorf("it still finds %+v, want %q", found, kinds)
		}
		return nil
	})
}

func (e *examinedConsul) await(problem func() error) {
	e.Helper()
	deadline := time.After(15 * time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		err := problem()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			e.Fatal(err)
		case <-tick.C:
		}
	}
}

// do types a line at a shell that knows the agent, as its operator's does.
func (e *examinedConsul) do(line string) {
	e.Helper()
	if said, err := e.types(line); err != nil {
		e.Errorf("%q ends with %v: %s", line, err, said)
	}
}

func TestTheDoctorFindsThatNoAgentAnswers(t *testing.T) {
	e := examineConsul(t, consul.Options{}, 2, "")
	e.isWell()
	e.agent.Kill()
	if mend := e.finds(doctor.Failure, "consul-unreachable").Mend; mend != "systemctl start consul" {
		t.Errorf("the mend is %q", mend)
	}
	e.must(e.agent.Restart(t.Context()))
	e.isWell()
}

func TestTheDoctorFindsWhatIsWrongWithTheToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	e := examineConsul(t, consul.Options{ACL: true}, 1, fmt.Sprintf("token_file = %q", file))
	acl := e.agent.Client().ACL()
	t.Run("there is none", func(t *testing.T) {
		e := e.in(t)
		e.do(e.finds(doctor.Failure, "consul-token").Mend)
		e.isWell()
	})
	t.Run("nobody knows it", func(t *testing.T) {
		e := e.in(t)
		e.must(os.WriteFile(file, []byte("c0ffee00-0000-4000-8000-00000000dead"), 0o600))
		e.do(e.finds(doctor.Failure, "consul-token").Mend)
		e.isWell()
	})
	for name, rules := range map[string]string{
		"it may see another service only": `service "other" { policy = "read" } node_prefix "" { policy = "read" }`,
		"it may see no nodes":             `service_prefix "" { policy = "read" }`,
		"it may see nothing":              `key_prefix "" { policy = "read" }`,
	} {
		t.Run(name, func(t *testing.T) {
			e := e.in(t)
			policy := strings.ReplaceAll(name, " ", "-")
			_, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: policy, Rules: rules}, nil)
			e.must(err)
			token, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: policy}}}, nil)
			e.must(err)
			e.must(os.WriteFile(file, []byte(token.SecretID), 0o600))
			e.must(e.agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "s0", Address: "198.51.100.7", Port: 1000}))
			mend := e.finds(doctor.Failure, "consul-rights").Mend
			if !strings.Contains(mend, token.AccessorID) {
				t.Errorf("the mend %q does not name the token", mend)
			}
			e.do(mend)
			e.isWell()
		})
	}
}

func (e *examinedConsul) in(t *testing.T) *examinedConsul {
	return &examinedConsul{t, e.agent, e.binary, e.config}
}

func TestTheDoctorFindsThatTheAgentTakesTooFewConnections(t *testing.T) {
	for name, row := range map[string]struct {
		limit, services int
		level           doctor.Level
	}{
		"others on the host get none":  {120, 30, doctor.Warning},
		"not even all watches get one": {20, 30, doctor.Failure},
	} {
		t.Run(name, func(t *testing.T) {
			e := examineConsul(t, consul.Options{Limit: row.limit}, row.services, "")
			mend := e.finds(row.level, "consul-connections").Mend
			e.do(strings.ReplaceAll(mend, "/etc/consul.d/", filepath.Join(e.agent.Directory, "config")+"/"))
			e.isWell()
		})
	}
	t.Run("over HTTPS few are enough", func(t *testing.T) {
		e := examineConsul(t, consul.Options{Limit: 120, TLS: true}, 30, "")
		e.must(os.WriteFile(e.config, []byte(strings.Replace(e.text(), "consul {\n", "consul {\n  ca_file = \""+e.agent.CAFile+"\"\n", 1)), 0o600))
		e.isWell()
	})
}

func (e *examinedConsul) text() string {
	e.Helper()
	text, err := os.ReadFile(e.config)
	e.must(err)
	return string(text)
}

func TestTheDoctorFindsThatTheAgentsCertificateIsNotTrusted(t *testing.T) {
	e := examineConsul(t, consul.Options{TLS: true}, 1, "")
	if mend := e.finds(doctor.Failure, "consul-certificate").Mend; mend != "curl -sSv "+e.agent.HTTPS+"/v1/status/leader" {
		t.Errorf("the mend is %q", mend)
	}
}
