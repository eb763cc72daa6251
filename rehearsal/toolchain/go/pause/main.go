// Command pause keeps a pod's namespaces while its containers come and go.
//
// It is the first process of the pod: where the containers share one process namespace, orphans
// become its children, and it collects them so that none stays as a zombie.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set while linking.
var version = "unknown"

func main() {
	show := flag.Bool("v", false, "print the version and end")
	flag.Parse()
	if *show {
		fmt.Println("pause", version)
		return
	}
	// A first process ignores signals that it has no handler for, so each needs one.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	// An orphan may have ended before the handler was there.
	reap()
	for received := range signals {
		if received != syscall.SIGCHLD {
			// Status 0: to end a pod is not an error.
			return
		}
		reap()
	}
}

// reap collects every child that has ended. One SIGCHLD may stand for several of them.
func reap() {
	for {
		child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || child <= 0 {
			return
		}
	}
}
