package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// secret is a hashed password.
type secret interface {
	// matches tells whether password is the one that was hashed. It takes as long for any other one.
	matches(password string) bool
	// work compares what it takes with other secrets of any kind, in about milliseconds.
	work() int
}

// Bounds of what one check may cost, so that a file cannot make every login take minutes.
const (
	maxBcryptCost = 14
	maxRounds     = 1_000_000
)

// weakHashes begin entries that are hashes of a kind that is not taken. To take them for a password would let in whoever
// has seen the file.
var weakHashes = []string{"$1$", "$apr1$", "$md5", "$sha1$", "$3$", "$7$", "$y$", "$gy$", "$argon2", "$scrypt$", "$pbkdf2", "{SHA", "{SSHA", "{MD5}", "{SMD5}", "{CRYPT}"}

const hashRemedy = "make it with htpasswd -nB USER, or openssl passwd -6"

// parseSecret reads a hashed password. hashed is false where text is none but a password itself.
func parseSecret(text string) (s secret, hashed bool, err error) {
	for _, prefix := range []string{"$2a$", "$2b$", "$2y$"} {
		if strings.HasPrefix(text, prefix) {
			s, err = parseBcrypt(text)
			return s, true, err
		}
	}
	for _, kind := range []*shaCrypt{&sha256Crypt, &sha512Crypt} {
		if strings.HasPrefix(text, kind.prefix) {
			s, err = kind.parse(text)
			return s, true, err
		}
	}
	for _, prefix := range weakHashes {
		if strings.HasPrefix(text, prefix) {
			return nil, true, fmt.Errorf("a hash of the kind %s is not taken; %s", prefix, hashRemedy)
		}
	}
	return nil, false, nil
}

// cryptDigits are the digits of crypt's base 64.
const cryptDigits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var errCutHash = errors.New("the hash is not whole; " + hashRemedy)

func isCrypt64(s string) bool { return strings.Trim(s, cryptDigits) == "" }

// bcryptHash is $2b$COST$ with 22 digits of salt and 31 of hash.
type bcryptHash struct {
	text []byte
	cost int
}

func parseBcrypt(text string) (secret, error) {
	const head, whole = len("$2b$10$"), 60
	if len(text) != whole || text[head-1] != '$' || !isCrypt64(text[head:]) {
		return nil, errCutHash
	}
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil {
		return nil, errCutHash
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("a bcrypt cost of %d would make a login take seconds; %d is the most, and 10 is usual: htpasswd -nB -C 10 USER", cost, maxBcryptCost)
	}
	return &bcryptHash{[]byte(text), cost}, nil
}

func (h *bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword(h.text, []byte(password)) == nil
}

func (h *bcryptHash) work() int { return 1 << max(h.cost-4, 0) }

// shaCrypt is crypt's SHA-256 or SHA-512: PREFIX[rounds=N$]SALT$HASH, as Ulrich Drepper specified them.
type shaCrypt struct {
	prefix string
	hash   func() hash.Hash
	order  []byte // of the digest's bytes in the text, three a group
}

var (
	sha256Crypt = shaCrypt{"$5$", sha256.New, cryptOrder(sha256.Size)}
	sha512Crypt = shaCrypt{"$6$", sha512.New, cryptOrder(sha512.Size)}
)

// cryptOrder is how the bytes of a digest of n bytes are mixed for the text: i, i+a and i+2a, for a third a of them, in a
// rotation that moves by one with each group. What is left over comes last.
func cryptOrder(n int) []byte {
	third := n / 3
	var order []byte
	for i := range third {
		group := [3]byte{byte(i), byte(i + third), byte(i + 2*third)}
		shift := i % 3
		if n == sha256.Size { // it rotates the other way
			shift = (3 - shift) % 3
		}
		order = append(order, group[shift], group[(shift+1)%3], group[(shift+2)%3])
	}
	for i := n - 1; i >= 3*third; i-- {
		order = append(order, byte(i))
	}
	return order
}

// shaSecret is one such hash.
type shaSecret struct {
	kind   *shaCrypt
	salt   string
	rounds int
	digits []byte
}

func (kind *shaCrypt) parse(text string) (secret, error) {
	s := &shaSecret{kind: kind, rounds: 5000}
	rest := text[len(kind.prefix):]
	if number, has := strings.CutPrefix(rest, "rounds="); has {
		digits, after, found := strings.Cut(number, "$")
		n, err := strconv.Atoi(digits)
		if err != nil || !found || n < 0 {
			return nil, errCutHash
		}
		if n > maxRounds {
			return nil, fmt.Errorf("%d rounds would make a login take seconds; %d is the most, and 5000 is usual: openssl passwd %s", n, maxRounds, map[string]string{"$5$": "-5", "$6$": "-6"}[kind.prefix])
		}
		s.rounds, rest = max(n, 1000), after
	}
	salt, digits, found := strings.Cut(rest, "$")
	if want := (len(kind.order)*8 + 5) / 6; !found || len(salt) > 16 || len(digits) != want || !isCrypt64(digits) {
		return nil, errCutHash
	}
	s.salt, s.digits = salt, []byte(digits)
	return s, nil
}

func (s *shaSecret) matches(password string) bool {
	return subtle.ConstantTimeCompare(s.digits, s.kind.digits([]byte(password), []byte(s.salt), s.rounds)) == 1
}

func (s *shaSecret) work() int { return s.rounds / 1000 }

// digits hashes a password.
func (kind *shaCrypt) digits(password, salt []byte, rounds int) []byte {
	h := kind.hash()
	sum := func(parts ...[]byte) []byte {
		h.Reset()
		for _, part := range parts {
			h.Write(part)
		}
		return h.Sum(nil)
	}
	// stretch repeats a digest to n bytes.
	stretch := func(digest []byte, n int) []byte {
		return bytes.Repeat(digest, n/len(digest)+1)[:n]
	}
	other := sum(password, salt, password)
	parts := [][]byte{password, salt, stretch(other, len(password))}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			parts = append(parts, other)
		} else {
			parts = append(parts, password)
		}
	}
	digest := sum(parts...)
	p := stretch(sum(bytes.Repeat(password, len(password))), len(password))
	s := stretch(sum(bytes.Repeat(salt, 16+int(digest[0]))), len(salt))
	for i := range rounds {
		h.Reset()
		if i&1 != 0 {
			h.Write(p)
		} else {
			h.Write(digest)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i&1 != 0 {
			h.Write(digest)
		} else {
			h.Write(p)
		}
		digest = h.Sum(digest[:0])
	}
	return kind.spell(digest)
}

// spell writes a digest in crypt's base 64: groups of three bytes, the first the highest, their lowest six bits first.
func (kind *shaCrypt) spell(digest []byte) []byte {
	var out []byte
	for group := kind.order; len(group) > 0; {
		n := min(3, len(group))
		v := 0
		for _, i := range group[:n] {
			v = v<<8 | int(digest[i])
		}
		for range (n*8 + 5) / 6 {
			out = append(out, cryptDigits[v&63])
			v >>= 6
		}
		group = group[n:]
	}
	return out
}
