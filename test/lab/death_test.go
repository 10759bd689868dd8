package lab

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// victimEnv tells a copy of the test binary how to end while its lab is up.
const victimEnv = "LAB_VICTIM"

// TestPrivilegedVictim is the body of the copy; without the variable it is
// nobody's victim and does nothing.
func TestPrivilegedVictim(t *testing.T) {
	death := os.Getenv(victimEnv)
	if death == "" {
		return
	}
	l := ForTest(t, Options{Backends: 1})
	if err := os.Mkdir(l.PinDir, 0o700); err != nil {
		t.Fatal(err)
	}
	sleeper, err := l.Backends[0].Start(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("up " + l.Prefix + "\n")
	switch death {
	case "panics":
		panic("as asked")
	case "fails":
		t.Fatal("as asked")
	}
	<-sleeper.Done() // until somebody ends us
}

func TestPrivilegedALabIsTakenDownWhenItsTest(t *testing.T) {
	privileged(t)
	for _, death := range []string{"panics", "fails", "is interrupted"} {
		t.Run(death, func(t *testing.T) {
			prefix, victim := startVictim(t, death)
			if death == "is interrupted" {
				if err := victim.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
			if err := victim.Wait(); err == nil {
				t.Error("the victim ended as if nothing had been")
			}
			if remains := Remains(prefix); len(remains) > 0 {
				t.Errorf("left behind: %v", remains)
			}
		})
	}
}

func TestPrivilegedWhatAKilledRunLeavesIsRemovedByTheNext(t *testing.T) {
	privileged(t)
	prefix, victim := startVictim(t, "is killed")
	other, otherVictim := startVictim(t, "lives on")
	processes := processesIn(t, filepath.Join(namespaces, prefix+"-backend-1"))
	if len(processes) == 0 {
		t.Fatal("the victim's process is not in its namespace")
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	if len(Remains(prefix)) == 0 {
		t.Fatal("a killed run left nothing: this test proves nothing")
	}
	if left := processesIn(t, filepath.Join(namespaces, prefix+"-backend-1")); len(left) > 0 {
		t.Errorf("processes %v outlived the killed run", left)
	}
	before := len(Remains(other))
	ForTest(t, Options{})
	if remains := Remains(prefix); len(remains) > 0 {
		t.Errorf("left behind: %v", remains)
	}
	if after := len(Remains(other)); after != before || before == 0 {
		t.Errorf("a lab whose owner lives went from %d traces to %d", before, after)
	}
	if err := otherVictim.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = otherVictim.Wait()
}

// startVictim returns once the victim's lab is up.
func startVictim(t *testing.T, death string) (prefix string, victim *exec.Cmd) {
	t.Helper()
	victim = exec.Command(os.Args[0], "-test.run", "^TestPrivilegedVictim$")
	victim.Env = append(os.Environ(), victimEnv+"="+death)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = victim.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if prefix, ok := strings.CutPrefix(lines.Text(), "up "); ok {
			go io.Copy(io.Discard, out) // ends with the victim
			return prefix, victim
		}
	}
	t.Fatalf("the victim did not get its lab up: %v", victim.Wait())
	return "", nil
}

// processesIn lists the processes whose network namespace is the one at a path.
func processesIn(t *testing.T, namespace string) []string {
	t.Helper()
	want, err := os.Stat(namespace)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		if got, err := os.Stat(path); err == nil && os.SameFile(got, want) {
			found = append(found, path)
		}
	}
	return found
}
