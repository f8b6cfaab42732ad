//go:build !linux

package server

import "net"

// startLoop serves with package net where epoll is not there.
func startLoop(s *Server, listeners []net.Listener) (loop, error) { return startNet(s, listeners), nil }
