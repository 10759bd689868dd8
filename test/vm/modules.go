package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the modules that tests need: those of a lab's network, of the
// kernel's own tunnels, of stacked devices, and of tc before Linux 6.6.
var wanted = []string{"veth", "bridge", "tun", "ipip", "sit", "ip6_tunnel", "fou", "8021q", "bonding", "sch_ingress", "cls_bpf"}

// module is one that the machine is to load.
type module struct {
	name    string
	content []byte
}

// wantedModules are the wanted ones, more that this run needs, and those that they need, in the
// order in which they can be loaded. Depmod's index only exists where a kernel is installed, so
// the modules themselves are asked.
func (k kernel) wantedModules(ctx context.Context, more []string) ([]module, error) {
	dir, err := k.modules()
	if err != nil {
		return nil, err
	}
	l := loader{ctx: ctx, paths: map[string]string{}}
	if l.builtin, err = builtinModules(dir); err != nil {
		return nil, err
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if name, is := moduleName(path); is && err == nil {
			l.paths[name] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(wanted, more) {
		if err := l.take(name); err != nil {
			return nil, fmt.Errorf("taking module %s of %s: %w", name, k.release, err)
		}
	}
	return l.taken, nil
}

// moduleName is the name of the module in a file: dashes and underscores mean the
// same, and modules are called by the latter.
func moduleName(path string) (string, bool) {
	name, extension, _ := strings.Cut(filepath.Base(path), ".")
	return strings.ReplaceAll(name, "-", "_"), extension == "ko" || extension == "ko.xz"
}

func builtinModules(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	var names []string
	for path := range strings.FieldsSeq(string(text)) {
		name, _ := moduleName(path)
		names = append(names, name)
	}
	return names, err
}

type loader struct {
	ctx     context.Context
	builtin []string
	paths   map[string]string
	taken   []module
}

// take takes a module after those that it depends on.
func (l *loader) take(name string) error {
	if slices.Contains(l.builtin, name) || slices.ContainsFunc(l.taken, func(m module) bool { return m.name == name }) {
		return nil
	}
	path, there := l.paths[name]
	if !there {
		return fmt.Errorf("this kernel has no module %s", name)
	}
	content, err := l.read(path)
	if err != nil {
		return err
	}
	needed, err := dependencies(content)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	for _, name := range needed {
		if err := l.take(name); err != nil {
			return err
		}
	}
	l.taken = append(l.taken, module{name, content})
	return nil
}

func (l *loader) read(path string) ([]byte, error) {
	if filepath.Ext(path) == ".xz" {
		content, err := output(l.ctx, "", "xz", "-dc", path)
		return []byte(content), err
	}
	return os.ReadFile(path)
}

// dependencies reads the "depends=" of a module's own notes about itself.
func dependencies(content []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it is no kernel module: it has no section .modinfo")
	}
	notes, err := section.Data()
	if err != nil {
		return nil, err
	}
	var names []string
	for note := range bytes.SplitSeq(notes, []byte{0}) {
		if list, is := bytes.CutPrefix(note, []byte("depends=")); is && len(list) > 0 {
			for name := range strings.SplitSeq(string(list), ",") {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return names, nil
}
