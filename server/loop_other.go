//go:build !linux

package server

// startLoop serves with package net where epoll is not there.
func startLoop(s *Server, g *group) (loop, error) { return startNet(s, g), nil }
