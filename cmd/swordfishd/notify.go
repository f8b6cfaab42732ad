package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// notifyEnv names the socket on which a service manager wants to be told how this process is, as systemd's Type=notify has it.
const notifyEnv = "NOTIFY_SOCKET"

// notifyManager tells the service manager, if there is one, the given assignments, such as READY=1. What cannot be sent is
// logged: the manager will then think that the state has not changed.
func (a *app) notifyManager(assignments ...string) {
	path := os.Getenv(notifyEnv)
	if path == "" {
		return
	}
	// A name that begins with @ is an abstract one, to package net as well.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(strings.Join(assignments, "\n")))
		c.Close()
	}
	if err != nil {
		a.log.Warn().Err(err).Strs("assignments", assignments).Msg("the service manager was not told")
	}
}

// tellReady tells the manager that clients are served.
func (a *app) tellReady() {
	c := a.config.Load()
	a.notifyManager("READY=1", fmt.Sprintf("STATUS=Serving, %d routes", len(c.Routes)))
}

// tellReloading tells the manager that the configuration is being read; tellReady has to follow.
func (a *app) tellReloading() {
	a.notifyManager("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic().Microseconds()), "STATUS=Reading the configuration again")
}

func (a *app) tellStopping() { a.notifyManager("STOPPING=1", "STATUS=Finishing the commands in hand") }
