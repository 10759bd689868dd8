package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kernel is a package of Debian, unpacked but not installed.
type kernel struct {
	dir     string // what the package would put below /
	release string // as uname -r says it: 6.1.0-56-cloud-amd64
}

// cache is where kernels are kept, beside this program: bin/kernels/6.1 and so on.
func cache(series string) (string, error) {
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), "kernels", series), err
}

// packageFile is in the cache beside the unpacked package and names it.
const packageFile = "package"

// findKernel finds one that was fetched.
func findKernel(series string) (kernel, error) {
	dir, err := cache(series)
	if err != nil {
		return kernel{}, err
	}
	const prefix = "vmlinuz-"
	images, err := filepath.Glob(filepath.Join(dir, "boot", prefix+"*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("there is no Linux %s in %s: bin/vm fetch %s gets it", series, dir, series)
	}
	return kernel{dir, strings.TrimPrefix(filepath.Base(images[0]), prefix)}, nil
}

func (k kernel) image() string { return filepath.Join(k.dir, "boot", "vmlinuz-"+k.release) }

// modules is the folder of the kernel's modules; it has moved from Debian 12 to 13.
func (k kernel) modules() (string, error) {
	for _, parent := range []string{"lib/modules", "usr/lib/modules"} {
		dir := filepath.Join(k.dir, parent, k.release)
		if _, err := os.Stat(filepath.Join(dir, "modules.builtin")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s has no modules of %s", k.dir, k.release)
}

func fetchAll(ctx context.Context, all []string) error {
	if len(all) == 0 {
		return errors.New("which series of kernels? Try: vm fetch 6.1 6.12")
	}
	for _, series := range all {
		name, err := fetch(ctx, series)
		if err != nil {
			return fmt.Errorf("fetching Debian's newest Linux %s: %w", series, err)
		}
		fmt.Println("Linux", series, "is", name)
	}
	return nil
}

// fetch makes the cache hold the newest kernel that apt knows, and returns the
// package's full name. Where apt has never heard of one, a kernel that somebody
// put into the cache will do.
func fetch(ctx context.Context, series string) (name string, err error) {
	dir, err := cache(series)
	if err != nil {
		return "", err
	}
	offer, err := newest(ctx, series)
	if err != nil {
		if k, missing := findKernel(series); missing == nil {
			return k.release, nil
		}
		return "", err
	}
	if have, err := os.ReadFile(filepath.Join(dir, packageFile)); err == nil && string(have) == offer.file {
		return offer.file, nil
	}
	fmt.Printf("downloading %s, %d MB\n", offer.file, offer.size>>20)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	// Beside the place it is for: what is there is complete at any time.
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	if err := unpack(ctx, offer, fresh); err != nil {
		return "", err
	}
	return offer.file, errors.Join(os.RemoveAll(dir), os.Rename(fresh, dir))
}

func unpack(ctx context.Context, o offer, dir string) error {
	if _, err := output(ctx, dir, "apt-get", append(quiet, "download", o.name)...); err != nil {
		return err
	}
	if _, err := output(ctx, dir, "dpkg-deb", "-x", o.file, "."); err != nil {
		return err
	}
	return errors.Join(os.Remove(filepath.Join(dir, o.file)),
		os.WriteFile(filepath.Join(dir, packageFile), []byte(o.file), 0o644))
}

// quiet is for a folder that apt's own user may not read.
var quiet = []string{"-qq", "-o", "APT::Sandbox::User=root"}

// offer is a package that apt could download.
type offer struct {
	name, file string
	size       int64
}

// newest asks apt. Cloud kernels are the small ones: no drivers but for virtual
// machines.
func newest(ctx context.Context, series string) (offer, error) {
	known, err := output(ctx, "", "apt-cache", "pkgnames", "linux-image-"+series+".")
	if err != nil {
		return offer{}, err
	}
	name := newestOf(series, strings.Fields(known))
	if name == "" {
		return offer{}, fmt.Errorf("apt knows no package linux-image-%s.…-cloud-amd64. On Debian 12: apt-get update; "+
			"elsewhere unpack one into bin/kernels/%s by dpkg-deb -x", series, series)
	}
	uris, err := output(ctx, "", "apt-get", append(quiet, "download", "--print-uris", name)...)
	if err != nil {
		return offer{}, err
	}
	fields := strings.Fields(uris) // 'http://…' FILE SIZE SHA256:…
	if len(fields) < 3 {
		return offer{}, fmt.Errorf("apt says nothing of where %s is: %q", name, uris)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	return offer{name, fields[1], size}, err
}

var number = regexp.MustCompile(`[0-9]+`)

// newestOf compares the numbers in names that differ in nothing else.
func newestOf(series string, names []string) string {
	kind := regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(series) + `\.[0-9][0-9.+a-z-]*-cloud-amd64$`)
	var newest string
	var version []int
	for _, name := range names {
		if !kind.MatchString(name) {
			continue
		}
		var numbers []int
		for _, digits := range number.FindAllString(name, -1) {
			n, _ := strconv.Atoi(digits) // of a version, never too long
			numbers = append(numbers, n)
		}
		if slices.Compare(numbers, version) > 0 {
			newest, version = name, numbers
		}
	}
	return newest
}

// packages are where Debian has the programs that are needed here.
var packages = map[string]string{
	"apt-cache": "apt", "apt-get": "apt", "dpkg-deb": "dpkg", "xz": "xz-utils", "ldd": "libc-bin",
	"qemu-system-x86_64": "qemu-system-x86", "ip": "iproute2", "sysctl": "procps", "sh": "dash",
	"systemctl": "systemd", "setpriv": "util-linux",
}

// find is where a program is; the error says how to get it.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil && packages[program] != "" {
		return "", fmt.Errorf("%s is missing: apt-get install %s", program, packages[program])
	}
	return path, err
}

// output runs a program in a folder and returns what it writes.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	path, err := find(program)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("running %s: %w", strings.Join(cmd.Args, " "), err)
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
		}
	}
	return string(out), err
}
