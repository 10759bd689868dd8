package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

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
)

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
	code := exitFailure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		if coded.err == nil {
			return coded.code
		}
		code = coded.code
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "pointsman: %v\nTry '%s --help'.\n", err, usage.command)
		return exitUsage
	case errors.As(err, &unreachable):
		fmt.Fprintf(stderr, "pointsman: %v\nIs it running? Start it with 'pointsman run', or name its socket with --socket.\n", unreachable)
		return exitUnreachable
	case errors.As(err, &problem) && problem.Status == http.StatusNotFound:
		code = exitNotFound
	}
	fmt.Fprintf(stderr, "pointsman: %v\n", err)
	return code
}
