package config

import (
	"crypto/tls"
	"slices"
	"strconv"
	"strings"
)

// cipher is a cipher suite of TLS 1.2 and older.
type cipher struct {
	id    uint16
	name  string // OpenSSL's
	words string // OpenSSL's words for groups that it is in, beside ALL and HIGH
}

// ciphers are those that crypto/tls has, without RC4 and 3DES, which OpenSSL 3 does not offer either.
var ciphers = []cipher{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", "DEFAULT ECDHE EECDH kECDHE kEECDH aECDSA ECDSA AES AES128 AESGCM"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", "DEFAULT ECDHE EECDH kECDHE kEECDH aRSA RSA AES AES128 AESGCM"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", "DEFAULT ECDHE EECDH kECDHE kEECDH aECDSA ECDSA AES AES256 AESGCM"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", "DEFAULT ECDHE EECDH kECDHE kEECDH aRSA RSA AES AES256 AESGCM"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", "DEFAULT ECDHE EECDH kECDHE kEECDH aECDSA ECDSA CHACHA20"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", "DEFAULT ECDHE EECDH kECDHE kEECDH aRSA RSA CHACHA20"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", "ECDHE EECDH kECDHE kEECDH aECDSA ECDSA AES AES128 SHA256"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", "ECDHE EECDH kECDHE kEECDH aRSA RSA AES AES128 SHA256"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", "DEFAULT ECDHE EECDH kECDHE kEECDH aECDSA ECDSA AES AES128 SHA SHA1"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", "DEFAULT ECDHE EECDH kECDHE kEECDH aRSA RSA AES AES128 SHA SHA1"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", "DEFAULT ECDHE EECDH kECDHE kEECDH aECDSA ECDSA AES AES256 SHA SHA1"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", "DEFAULT ECDHE EECDH kECDHE kEECDH aRSA RSA AES AES256 SHA SHA1"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", "kRSA aRSA RSA AES AES128 AESGCM"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", "kRSA aRSA RSA AES AES256 AESGCM"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", "kRSA aRSA RSA AES AES128 SHA256"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", "kRSA aRSA RSA AES AES128 SHA SHA1"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", "kRSA aRSA RSA AES AES256 SHA SHA1"},
}

// is tells whether word names c or a group that it is in.
func (c *cipher) is(word string) bool {
	return word == c.name || word == tls.CipherSuiteName(c.id) || word == "ALL" || word == "HIGH" || slices.Contains(strings.Fields(c.words), word)
}

// cipherSuites reads a list in OpenSSL's form: names of ciphers or of groups with colons between, a plus between words that
// must all hold, ! or - before what is to be left out. The order of the list means nothing: crypto/tls has one of its own. A
// fault tells what is wrong with the list.
func cipherSuites(list string) (suites []uint16, fault string) {
	var never []uint16
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ',' || r == ';' || r == ' ' }) {
		bare := strings.TrimLeft(word, "!-+")
		found := matching(bare)
		switch {
		case word == "@STRENGTH":
		case strings.HasPrefix(word, "!"):
			never = append(never, found...)
		case strings.HasPrefix(word, "-"):
			suites = slices.DeleteFunc(suites, func(id uint16) bool { return slices.Contains(found, id) })
		case strings.HasPrefix(word, "+"): // moves them back in the order
		case len(found) > 0:
			suites = append(suites, found...)
		case strings.HasPrefix(word, "TLS_"):
			return nil, strconv.Quote(word) + " is none of TLS 1.2 or older, and those of TLS 1.3 are always on; leave it out"
		default:
			return nil, "unknown cipher " + strconv.Quote(word) + "; " + didYouMean(word, cipherNames())
		}
	}
	suites = slices.DeleteFunc(suites, func(id uint16) bool { return slices.Contains(never, id) })
	if len(suites) == 0 {
		return nil, "no cipher is left; known are " + strings.Join(cipherNames(), ", ")
	}
	slices.Sort(suites)
	return slices.Compact(suites), ""
}

// matching returns the ciphers for which all words with a plus between hold.
func matching(words string) (found []uint16) {
	all := strings.Split(words, "+")
	for i := range ciphers {
		if !slices.ContainsFunc(all, func(word string) bool { return !ciphers[i].is(word) }) {
			found = append(found, ciphers[i].id)
		}
	}
	return found
}

func cipherNames() []string {
	names := make([]string, 0, len(ciphers))
	for i := range ciphers {
		names = append(names, ciphers[i].name)
	}
	return names
}

func checkCiphers(list string) string {
	if _, fault := cipherSuites(list); fault != "" {
		return "Error setting the provided cipher(s): " + fault
	}
	return ""
}
