package controlplane

import (
	"context"
	"fmt"

	"github.com/pointsman/pointsman/controlplane/config"
)

// CheckOptions say how thoroughly to check.
type CheckOptions struct {
	// Consul makes everything that Consul objects to a mistake, also what time
	// may mend.
	Consul bool
	// Offline leaves out the questions to Consul.
	Offline bool
}

// Check reads a configuration and holds it against this host and, where it
// names one, against Consul. An error is config.Errors with all mistakes, or
// what kept it from looking. The warnings do not keep the file from running.
func Check(ctx context.Context, path string, options CheckOptions) (file *config.File, warnings []string, err error) {
	file, mistakes := config.Examine(path)
	if file == nil {
		return nil, nil, mistakes
	}
	more, err := checkHost(file)
	if err != nil {
		return nil, nil, err
	}
	if !options.Offline {
		var faults config.Errors
		warnings, faults = askConsul(ctx, file, options.Consul)
		more = append(more, faults...)
	}
	warnings = append(warnings, natWarnings(file)...)
	if mistakes = mistakes.And(more); len(mistakes) > 0 {
		return nil, warnings, mistakes
	}
	return file, warnings, nil
}

// restartNeeded names what a reload cannot change, because the kernel's maps
// and program were made with it.
func restartNeeded(running, wanted *config.File) []string {
	var texts []string
	say := func(what string) {
		texts = append(texts, fmt.Sprintf("%s changed in the file, which takes effect when the daemon is started again", what))
	}
	if running.Limits != wanted.Limits {
		say("limits")
	}
	if running.StateDir != wanted.StateDir {
		say("state_dir")
	}
	if running.HTTPListen != wanted.HTTPListen {
		say("http_listen")
	}
	if (running.HashSecret == nil) != (wanted.HashSecret == nil) ||
		running.HashSecret != nil && *running.HashSecret != *wanted.HashSecret {
		say("hash_secret")
	}
	return texts
}
