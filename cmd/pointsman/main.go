// Command pointsman is the load balancer: the daemon, and the client that asks
// it questions over its unix socket.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}
