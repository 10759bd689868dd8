package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	"github.com/pointsman/pointsman/controlplane/api"
)

// The exit codes, the same for every command.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3 // no daemon answers
	exitNotFound    = 4
	exitInvalid     = 5 // the configuration has mistakes
	exitDegraded    = 6 // with --exit-code
	exitTimeout     = 7
	exitChanges     = 8 // a plan would change something
)

// exitMeanings are the codes in words, for the manual.
var exitMeanings = []string{
	exitOK: "done", exitFailure: "it failed", exitUsage: "the command line is not understood", exitUnreachable: "no daemon answers",
	exitNotFound: "there is no such service, backend or VIP", exitInvalid: "the configuration has mistakes",
	exitDegraded: "something is degraded, with --exit-code", exitTimeout: "it took longer than --timeout", exitChanges: "a plan would change something",
}

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	command string // "pointsman backends"
}

// codedError carries the exit code of an error that only its command can judge.
// With a nil error there is nothing to say but the code.
type codedError struct {
	code int
	err  error
}

func (e codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e codedError) Unwrap() error { return e.err }

// exitCode says on stderr what went wrong and returns the code for it.
func exitCode(stderr io.Writer, err error) int {
	var usage usageError
	var coded codedError
	var unreachable *api.UnreachableError
	var problem *api.Problem
	code, hint := exitFailure, ""
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		if coded.err == nil {
			return coded.code
		}
		code = coded.code
	case errors.As(err, &usage):
		code, hint = exitUsage, fmt.Sprintf("Try '%s --help'.", usage.command)
	case errors.As(err, &unreachable):
		err, code = unreachable, exitUnreachable
		hint = "Is it running? Start it with 'pointsman run', or name its socket with --socket."
	case errors.As(err, &problem) && problem.Status == http.StatusNotFound:
		code = exitNotFound
	}
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		hint = "Try it as root."
	}
	fmt.Fprintf(stderr, "pointsman: %v\n", err)
	if hint != "" {
		fmt.Fprintln(stderr, hint)
	}
	return code
}
