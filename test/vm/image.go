package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// job is what the machine is to do, as the one process tells the other.
type job struct {
	Program   string
	Arguments []string
	Folder    string // in which to run it
	Variables []string
	Modules   []string // paths, in the order in which to load them
	Systemd   bool     // is the first process
}

const (
	jobPath      = "/job.json"
	modulePath   = "/modules/"
	searchPath   = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	testdataName = "testdata"
)

// buildImage is the machine's initial file system. Files have the paths
// that they have here, and the program runs in the folder that it would run in here,
// so that tests find what is beside them. A root is another system's, which the files
// are put into.
func buildImage(ctx context.Context, k kernel, systemd bool, root string, extra, files, command []string) ([]byte, error) {
	var image bytes.Buffer
	a := archive{to: &image}
	if err := addTree(&a, root); err != nil {
		return nil, fmt.Errorf("taking the system in %s along: %w", root, err)
	}
	for _, dir := range []string{"/dev", "/proc", "/run", "/sys", "/tmp", "/root"} {
		a.folder(dir)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	a.add("/init", 0o755, self)

	j := job{Systemd: systemd, Arguments: command[1:], Variables: []string{"PATH=" + searchPath, "HOME=/root"}}
	if j.Folder, err = os.Getwd(); err != nil {
		return nil, err
	}
	a.folder(j.Folder)
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "POINTSMAN_") {
			j.Variables = append(j.Variables, variable)
		}
	}
	if j.Program, err = addFile(ctx, &a, command[0]); err != nil {
		return nil, err
	}
	if systemd && root == "" {
		needed, err := systemdFiles()
		if err != nil {
			return nil, err
		}
		files = append(needed, files...)
	}
	for _, file := range files {
		if _, err := addFile(ctx, &a, file); err != nil {
			return nil, err
		}
	}
	modules, err := k.wantedModules(ctx, extra)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		j.Modules = append(j.Modules, modulePath+m.name)
		a.add(modulePath+m.name, 0o644, m.content)
	}
	orders, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	a.add(jobPath, 0o644, orders)
	return image.Bytes(), errors.Join(addTestdata(&a, j.Folder), a.close())
}

// library is how ldd writes the path of one.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// addFile adds a file, and the libraries that it needs if it is a program that is
// not static. A name without a slash is a program's on the PATH.
func addFile(ctx context.Context, a *archive, name string) (path string, err error) {
	path = name
	if !strings.Contains(name, "/") {
		if path, err = find(name); err != nil {
			return "", err
		}
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	paths := []string{path}
	if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
		// Of a static program it says just that, with an error.
		libraries, _ := output(ctx, "", "ldd", path)
		for _, match := range library.FindAllStringSubmatch(libraries, -1) {
			paths = append(paths, match[1])
		}
	}
	for _, path := range paths {
		if err := copyFile(a, path); err != nil {
			return "", err
		}
	}
	return path, nil
}

// copyFile adds what a path leads to, be it by a symbolic link.
func copyFile(a *archive, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	a.add(path, uint32(info.Mode().Perm()), content)
	return nil
}

// addTree adds all below a folder, which will be the root: folders, files and symbolic
// links. Devices the kernel makes itself.
func addTree(a *archive, root string) error {
	if root == "" {
		return nil
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, filepath.Clean(root))
		if err != nil || name == "" {
			return err
		}
		switch entry.Type() {
		case fs.ModeDir:
			a.folder(name)
		case fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			a.link(name, to)
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			a.add(name, uint32(info.Mode().Perm()), content)
		}
		return nil
	})
}

// addTestdata adds what go test lets tests of a package count on.
func addTestdata(a *archive, folder string) error {
	err := filepath.WalkDir(filepath.Join(folder, testdataName), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return copyFile(a, path)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("taking along the files of the tests: %w", err)
	}
	return nil
}
