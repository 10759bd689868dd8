package script

import (
	"strings"
	"testing"
)

func TestADocumentIsReadAsItsReaderDoes(t *testing.T) {
	steps := Steps("The file\n`/etc/x.hcl` on balancer:\n\n```hcl\na = 1\n```\n\n```\n  picture\n```\n\n```sh\nat home   # before all\n```\n\n" +
		"```\nbalancer# one\nseen\n…\nclient# two \\\n> and more\n```\n")
	want := []Step{
		{Line: 4, Host: "balancer", File: "/etc/x.hcl", Content: "a = 1\n"},
		{Line: 13, Command: "at home"},
		{Line: 17, Host: "balancer", Command: "one", Want: []string{"seen", "…"}},
		{Line: 20, Host: "client", Command: "two \\\nand more"},
	}
	if len(steps) != len(want) {
		t.Fatalf("the steps are %+v", steps)
	}
	for i := range want {
		if got := steps[i]; got.Line != want[i].Line || got.Host != want[i].Host || got.Command != want[i].Command || got.File != want[i].File ||
			got.Content != want[i].Content || strings.Join(got.Want, "|") != strings.Join(want[i].Want, "|") {
			t.Errorf("step %d is %+v, want %+v", i, got, want[i])
		}
	}
}

func TestAnOutputIsHeldAgainstWhatADocumentSays(t *testing.T) {
	for _, row := range []struct {
		want, output string
		is           bool
	}{
		{"", "", true},
		{"", "something\n", false},
		{"a b", "a    b\n", true},
		{"a b", "a b", true},
		{"a b", "ab\n", false},
		{"a b", "a b\nc\n", false},
		{"a b\nc", "a b\n", false},
		{"up …s ago", "up 3s ago\n", true},
		{"pid …, up", "pid 4 2, up\n", true},
		{"a.c", "abc\n", false},
		{"a\n…", "a\n", true},
		{"a\n…\nz", "a\nb\nc\nz\n", true},
		{"a\n…\nz", "a\nb\nc\n", false},
	} {
		var want []string
		if row.want != "" {
			want = strings.Split(row.want, "\n")
		}
		if Shows(want, row.output) != row.is {
			t.Errorf("%q is what %q says: %v", row.output, row.want, !row.is)
		}
	}
}
