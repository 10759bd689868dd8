package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

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
	if mistakes = mistakes.And(more); len(mistakes) > 0 {
		return nil, warnings, mistakes
	}
	return file, warnings, nil
}

// load reads a configuration; tests put another in its place.
type load func(context.Context) (*config.File, []string, error)

// reload reads the configuration anew at each signal, beside the loop, because
// Consul may take its time.
func reload(ctx context.Context, signals <-chan os.Signal, load load, inbox *inbox, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		}
		log.Info("reading the configuration again")
		file, warnings, err := load(ctx)
		if ctx.Err() != nil {
			return nil
		}
		inbox.reloaded(loaded{file: file, warnings: warnings, err: err, at: time.Now()})
	}
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
	if (running.HashSecret == nil) != (wanted.HashSecret == nil) ||
		running.HashSecret != nil && *running.HashSecret != *wanted.HashSecret {
		say("hash_secret")
	}
	return texts
}
