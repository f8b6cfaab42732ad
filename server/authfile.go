package server

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// UsersKind says which of memcached's two kinds of password files one is.
type UsersKind uint8

const (
	TextUsers UsersKind = iota // -Y: user:password
	SASLUsers                  // MEMCACHED_SASL_PWDB: user:password or user@host:password, with or without a colon and more behind it
)

// Bounds of a password file.
const (
	maxTextUsers = 8       // entries that memcached takes from the file of -Y
	maxEntry     = 255     // bytes in a line
	maxUsersFile = 1 << 20 // bytes in all
)

// Users are those who may use the server, as a password file names them. They never change: another file makes others. What
// is kept of a password is its hash, or a keyed digest where the file has the password itself. Users are safe for
// concurrent use.
type Users struct {
	key    [sha256.Size]byte   // of the tags, drawn anew for each file
	plain  map[tag]struct{}    // who has the password itself in the file
	hashed map[string][]secret // by user
	decoy  secret              // the costliest of them, checked for users who have none; nil: nobody's password is hashed
	kind   UsersKind
	host   string           // this one
	note   string           // what of the file is not as its author may think
	mu     sync.Mutex       // guards proven
	proven map[tag]struct{} // who has shown a password that is hashed in the file
}

// tag stands for a user with a password: a digest under a key that nobody else has, so that tags may be compared in any way.
type tag [sha256.Size]byte

// maxProven bounds Users.proven, which can outgrow the file because bcrypt looks at the first 72 bytes alone.
const maxProven = 1024

// ReadUsers reads a password file. An error names the line and what to do; it never shows what stands there.
func ReadUsers(path string, kind UsersKind) (*Users, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("password file: %w; it has to be there and readable for the user that the server runs as", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxUsersFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("password file: %w", err)
	case len(text) > maxUsersFile:
		return nil, fmt.Errorf("password file %s: over %d bytes; it is no list of user:password lines", path, maxUsersFile)
	}
	host, _ := os.Hostname() // without one no user is of this host
	u, line, err := parseUsers(text, kind, host)
	switch {
	case err != nil && line > 0:
		return nil, fmt.Errorf("password file %s:%d: %w", path, line, err)
	case err != nil:
		return nil, fmt.Errorf("password file %s: %w", path, err)
	}
	return u, nil
}

// parseUsers reads the text of a password file. Empty lines and lines that begin with # are passed over.
func parseUsers(text []byte, kind UsersKind, host string) (u *Users, line int, err error) {
	u = &Users{kind: kind, host: host, plain: make(map[tag]struct{}), hashed: make(map[string][]secret), proven: make(map[tag]struct{})}
	if _, err := rand.Read(u.key[:]); err != nil {
		return nil, 0, err
	}
	entries := 0
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxUsersFile+1)
	for lines.Scan() {
		line++
		entry := strings.TrimSuffix(lines.Text(), "\r")
		if entry == "" || entry[0] == '#' {
			continue
		}
		if kind == TextUsers && entries == maxTextUsers {
			u.note = fmt.Sprintf("the password file has more than %d users: as in memcached, line %d and what follows it is left out", maxTextUsers, line)
			break
		}
		if err := u.add(entry); err != nil {
			return nil, line, err
		}
		entries++
	}
	switch {
	case lines.Err() != nil:
		return nil, 0, lines.Err()
	case entries == 0:
		return nil, 0, fmt.Errorf("it names no user; write lines like user:password, with a password that htpasswd -nB USER has hashed")
	}
	return u, 0, nil
}

// add takes an entry up.
func (u *Users) add(entry string) error {
	user, password, found := strings.Cut(entry, ":")
	switch {
	case len(entry) > maxEntry:
		return fmt.Errorf("the line has more than %d bytes; shorten it", maxEntry)
	case strings.ContainsAny(entry, "\x00\r"):
		return fmt.Errorf("there is a byte in it that no client can send; write the line as user:password")
	case !found:
		return fmt.Errorf("there is no colon in it; write user:password")
	case user == "":
		return fmt.Errorf("there is no user before the colon; write user:password")
	}
	names := []string{user}
	if u.kind == SASLUsers {
		if name, at, _ := strings.Cut(user, "@"); at == u.host && at != "" && name != "" {
			names = append(names, name)
		}
	}
	if password == "" || u.kind == SASLUsers && password[0] == ':' {
		return fmt.Errorf("there is no password behind the colon; write user:password")
	}
	first := password
	if u.kind == SASLUsers {
		first, _, _ = strings.Cut(password, ":")
	}
	s, hashed, err := parseSecret(first)
	if err != nil {
		return err
	}
	for _, name := range names {
		if hashed {
			u.hashed[name] = append(u.hashed[name], s)
			continue
		}
		u.plain[u.tag(name, password)] = struct{}{}
		if u.kind == SASLUsers { // it may end at any colon
			for i := range len(password) {
				if password[i] == ':' {
					u.plain[u.tag(name, password[:i])] = struct{}{}
				}
			}
		}
	}
	if hashed && (u.decoy == nil || s.work() > u.decoy.work()) {
		u.decoy = s
	}
	return nil
}

// Note says what of the file is not as its author may think; empty: nothing.
func (u *Users) Note() string { return u.note }

// tag is the same for the same user and password and different for any others.
func (u *Users) tag(user, password string) (t tag) {
	h := hmac.New(sha256.New, u.key[:])
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(user))))
	h.Write([]byte(user))
	h.Write([]byte(password))
	h.Sum(t[:0])
	return t
}

// known tells whether user and password of t are known to be right. It takes no time to speak of.
func (u *Users) known(t tag) bool {
	if _, ok := u.plain[t]; ok {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.proven[t]
	return ok
}

// prove checks a password against the user's hashes, and remembers t where it is right. It takes as long as the hashes of
// the file were made to take, also for users who have none or are not there.
func (u *Users) prove(user, password string, t tag) bool {
	secrets := u.hashed[user]
	if len(secrets) == 0 {
		u.decoy.matches(password)
		return false
	}
	right := false
	for _, s := range secrets {
		right = s.matches(password) || right
	}
	if !right {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.proven) >= maxProven {
		clear(u.proven)
	}
	u.proven[t] = struct{}{}
	return true
}
