package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// path is a PATH on which this program comes first, as pointsman.
func path(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\n" + asProgram + "=1 exec '" + self + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "pointsman"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + ":" + os.Getenv("PATH")
}

// completed are the words that the last word of a line may become.
func completed(t *testing.T, line string) (words []string) {
	for _, c := range complete(t.Context(), newApp(nil, nil, nil), strings.Split(line, " ")) {
		words = append(words, c.word)
	}
	return words
}

func TestWordsAreCompleted(t *testing.T) {
	socket := " --socket " + daemon(t, "ok") + " "
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file.hcl"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ promise, line, want string }{
		{"commands", "und", "undrain"},
		{"by what they begin with", "ba", "backends"},
		{"and not what is hidden", "__", ""},
		{"flags of the command", "backends --wi", "--wide"},
		{"also after arguments", "backends web --wa", "--watch"},
		{"and of no other", "version --wi", ""},
		{"values of a flag", "services -o ", "table json"},
		{"the rest of one", "top --sort pa", "packets"},
		{"none of one that may be anything", "drain --reason ", ""},
		{"nor after a word that is no command", "bakends ", ""},
		{"services", "backends" + socket + "", "dns web"},
		{"that begin so", "backends" + socket + "d", "dns"},
		{"backends of a service", "drain" + socket + "web 10.20.0.1", "10.20.0.12:443 10.20.0.13:443 10.20.0.14:443"},
		{"of the one that was named", "drain dns" + socket + "", "10.20.0.11:53"},
		{"nothing beyond the last argument", "drain" + socket + "web 10.20.0.12:443 ", ""},
		{"nothing where no daemon answers", "backends --socket /nowhere ", ""},
		{"files", "check " + dir + "/f", dir + "/file.hcl " + dir + "/folder/"},
		{"of a flag", "run --config " + dir + "/fi", dir + "/file.hcl"},
		{"words that a place knows", "completion ", "bash zsh fish"},
		{"protocols", "explain u", "udp"},
	} {
		if got := strings.Join(completed(t, row.line), " "); got != row.want {
			t.Errorf("%s: %q becomes %q, want %q", row.promise, row.line, got, row.want)
		}
	}
	if all := completed(t, ""); len(all) < 20 || slices.Contains(all, "__complete") {
		t.Errorf("nothing becomes %q", all)
	}
}

// A shell asks for what a line may become, its own way.
var shells = map[string]string{
	"bash": `source "$SCRIPT"; COMP_LINE="$LINE"; COMP_POINT=${#LINE}; COMP_WORDBREAKS=$' \t\n:'; _pointsman; printf '%s\n' "${COMPREPLY[@]}"`,
	"zsh": `compdef() { }; compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -l -- "$@" }
source "$SCRIPT"; words=("${(@s: :)LINE}"); CURRENT=$#words; _pointsman`,
	"fish": `source $SCRIPT; complete -C "$LINE" | cut -f1`,
}

func TestShellsComplete(t *testing.T) {
	socket, programs := daemon(t, "ok"), path(t)
	for shell, ask := range shells {
		script := filepath.Join(t.TempDir(), shell)
		if err := os.WriteFile(script, []byte(completions[shell]), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct{ line, want string }{
			{"pointsman bac", "backends"},
			{"pointsman drain --socket " + socket + " web 10.20.0.12", "10.20.0.12:443"},
			{"pointsman drain --socket " + socket + " web 10.20.0.12:", map[string]string{"bash": "443"}[shell]},
			{"pointsman services --wa", "--watch"},
			{"pointsman services -o j", "json"},
		} {
			if row.want == "" {
				row.want = "10.20.0.12:443"
			}
			asking := exec.Command(shell, "-c", ask)
			asking.Env = append(os.Environ(), "PATH="+programs, "SCRIPT="+script, "LINE="+row.line, "HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
			out, err := asking.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != row.want {
				t.Errorf("%s makes %q of %q, want %q: %v", shell, got, row.line, row.want, err)
			}
		}
	}
}

func TestTheManualRendersAndHasEveryCommandAndFlag(t *testing.T) {
	page := filepath.Join(t.TempDir(), "pointsman.8")
	_, source, _ := command(t, "man")
	if err := os.WriteFile(page, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	read := exec.Command("man", "--warnings", "-l", page)
	read.Env = append(os.Environ(), "MANWIDTH=200", "LC_ALL=C.UTF-8", "MAN_KEEP_FORMATTING=", "PAGER=cat", "MANPAGER=cat")
	var complaints strings.Builder
	read.Stderr = &complaints
	out, err := read.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("man says %q, %v", complaints.String(), err)
	}
	text := string(out)
	for name, c := range leaves(newApp(nil, nil, nil).Commands) {
		if c.Hidden {
			if strings.Contains(text, name) {
				t.Errorf("it has %s, which is hidden", name)
			}
			continue
		}
		if !strings.Contains(text, "\n   pointsman "+name) {
			t.Errorf("it lacks %s", name)
		}
		for _, f := range c.Flags {
			if names, _ := flagSynopsis(f); !strings.Contains(text, "       "+names) {
				t.Errorf("it lacks %s of %s", names, name)
			}
		}
	}
}
