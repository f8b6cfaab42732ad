//go:build !linux

package server

// openLoop makes a loop that serves with package net where epoll is not there.
func openLoop(s *Server, g *group) (loop, error) { return newNetLoop(s, g), nil }
