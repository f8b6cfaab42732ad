package main

import (
	"swordfish/config"
	"swordfish/server"
)

// readUsers reads the password file that o names; nil: everybody may use the server.
func readUsers(o *config.Options) (*server.Users, error) {
	path, kind := o.AuthFile, server.TextUsers
	if path == "" && o.SASL {
		path, kind = o.SASLFile, server.SASLUsers
	}
	if path == "" {
		return nil, nil
	}
	u, err := server.ReadUsers(path, kind)
	if err != nil {
		return nil, usageError{err}
	}
	return u, nil
}

// noteUsers logs what of the password file is not as its author may think.
func (a *app) noteUsers(u *server.Users) {
	if u != nil && u.Note() != "" {
		a.log.Warn().Msg(u.Note())
	}
}
