// Vm runs a program inside one of Debian's kernels, on a virtual machine that
// QEMU emulates. It is meant for go test -exec, so that tests know nothing of it
// and their results come from go test itself:
//
//	bin/vm fetch 6.1
//	CGO_ENABLED=0 go test -exec "$PWD/bin/vm run -kernel 6.1" ./dataplane/kernel
//
// The machine has no disk and no network. Its files are those that it is given,
// at the paths that they have here, below them a whole system where one is given, and
// its first process is this program again, or systemd, which then starts this program
// as a service.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `vm fetch SERIES...
    download Debian's newest kernel of each series, such as 6.1, unless it is here
vm run -kernel SERIES [FLAGS] PROGRAM [ARGUMENT...]
    run a program as root inside that kernel, exit as it does
`

func main() {
	if os.Getpid() == 1 || len(os.Args) == 2 && os.Args[1] == serviceWord {
		beGuest()
	}
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	// SIGQUIT is how go test ends a test that has had its time.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	status, err := command(ctx, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
	os.Exit(status)
}

func command(ctx context.Context, args []string) (status int, err error) {
	if len(args) == 0 {
		args = []string{""}
	}
	switch args[0] {
	case "fetch":
		return 0, fetchAll(ctx, args[1:])
	case "run":
		return run(ctx, args[1:])
	}
	flag.Usage()
	return 2, nil
}

// run takes its flags like this: after the program's name all is the program's.
func run(ctx context.Context, args []string) (status int, err error) {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	series := flags.String("kernel", "", "the `SERIES` that was fetched, such as 6.1")
	m := machine{}
	flags.StringVar(&m.accelerator, "accel", "tcg", "QEMU's `ACCELERATOR`")
	flags.IntVar(&m.cpus, "cpus", 2, "how many CPUs the machine has")
	flags.IntVar(&m.memory, "memory", 1536, "how much memory, in `MiB`")
	flags.DurationVar(&m.bootLimit, "boot-limit", 5*time.Minute, "how long the kernel may take to start")
	systemd := flags.Bool("systemd", false, "have systemd as the first process, and the program as one of its services")
	root := flags.String("root", "", "the `FOLDER` of a whole system, which the machine has a copy of")
	var files, modules []string
	flags.Func("module", "load this kernel `MODULE`, too (repeatable)", func(name string) error {
		modules = append(modules, name)
		return nil
	})
	flags.Func("with", "take this `FILE` along, a program with the libraries it needs (repeatable)", func(file string) error {
		files = append(files, file)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if flags.NArg() == 0 || *series == "" {
		flag.Usage()
		return 2, nil
	}
	kernel, err := findKernel(*series)
	if err != nil {
		return 1, err
	}
	image, err := buildImage(ctx, kernel, *systemd, *root, modules, files, flags.Args())
	if err != nil {
		return 1, fmt.Errorf("making the files of the machine: %w", err)
	}
	return m.run(ctx, kernel, image)
}
