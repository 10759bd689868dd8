package balancer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds the program into a directory and returns its path, or returns
// that of the environment variable POINTSMAN_BINARY where it is set. The working
// directory must be inside the repository.
func Build(ctx context.Context, dir string) (string, error) {
	if path := os.Getenv("POINTSMAN_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	return build(ctx, filepath.Join(dir, "pointsman"), "cmd/pointsman")
}

// BuildEarlier builds a daemon with the data plane of an earlier build.
func BuildEarlier(ctx context.Context, dir string) (string, error) {
	return build(ctx, filepath.Join(dir, "earlier"), "test/earlier")
}

func build(ctx context.Context, path, what string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/pointsman/pointsman/"+what)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w: %s", err, output)
	}
	return path, nil
}
