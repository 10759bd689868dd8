package consul

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestConsulAgentLeadsIsKilledComesBackEmptyAndLeavesNothing(t *testing.T) {
	binary, err := Find(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	a, err := Start(t.Context(), Options{Binary: binary, Log: t.Logf, ACL: true, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	t.Logf("it leads after %s", time.Since(start).Round(time.Millisecond))

	register := func() {
		t.Helper()
		if err := a.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Port: 80}); err != nil {
			t.Fatal(err)
		}
	}
	register()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Client().Status().Leader(); err == nil {
		t.Error("a killed agent still answers")
	}
	if err := a.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	services, err := a.Client().Agent().Services()
	if err != nil || len(services) != 0 {
		t.Errorf("after a restart the agent has %v (%v), want nothing", services, err)
	}
	register()
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.Directory); !os.IsNotExist(err) {
		t.Errorf("its directory is still there: %v", err)
	}
}

func TestAnAgentThatCannotRunSaysWhy(t *testing.T) {
	_, err := Start(t.Context(), Options{Binary: "/bin/false"})
	if err == nil {
		t.Fatal("no error from an agent that ends at once")
	}
	t.Log(err)
}

func TestTheRepositoryIsFoundFromWithin(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Error(err)
	}
	t.Chdir(t.TempDir())
	if root, err := repository(); err == nil {
		t.Errorf("a repository in a temporary directory: %s", root)
	}
}
