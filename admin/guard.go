package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// refusals count requests that were refused, by reason.
type refusals struct{ host, token, origin atomic.Uint64 }

func (r *refusals) counts() map[string]uint64 {
	return map[string]uint64{"host": r.host.Load(), "token": r.token.Load(), "origin": r.origin.Load()}
}

// contentPolicy lets the dashboard use what this server sends and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard lets requests through that may be answered. Health is for everybody who can connect.
//
// The Host header must be an address, localhost or one of Options.Hosts: a page whose own name was made to point here (DNS
// rebinding) sends that name. Where there is a token it must be shown, as a bearer's or as the password of a user of any name.
// And a request that a browser makes for a page from elsewhere is refused, whatever its method, but for following a link to the
// dashboard. Who is refused, or asks for health only, does not keep a connection, of which there are few.
func (a *Admin) guard(next http.Handler) http.Handler {
	token := sha256.Sum256([]byte(a.o.Token))
	sampled := a.o.Logger.Sample(&zerolog.BurstSampler{Burst: 5, Period: 10 * time.Second})
	refuse := func(w http.ResponseWriter, r *http.Request, count *atomic.Uint64, code int, why string) {
		count.Add(1)
		w.Header().Set("Connection", "close")
		sampled.Warn().Str("client", r.RemoteAddr).Str("path", r.URL.Path).Str("reason", why).Msg("admin refused a request")
		http.Error(w, why, code)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if isHealth(r) {
			h.Set("Connection", "close")
			next.ServeHTTP(w, r)
			return
		}
		switch {
		case !a.knownHost(r.Host):
			refuse(w, r, &a.o.refused.host, http.StatusForbidden, "this host name is not known here; admin: hosts: in the configuration lists those that are")
			return
		case a.o.Token != "" && !shows(r, token):
			h.Set("WWW-Authenticate", `Basic realm="swordfish, any user, the token as password", charset="UTF-8"`)
			refuse(w, r, &a.o.refused.token, http.StatusUnauthorized, "a token is needed: Authorization: Bearer TOKEN, or the token as a password")
			return
		case !sameOrigin(r):
			refuse(w, r, &a.o.refused.origin, http.StatusForbidden, "requests that come from another site's page are refused")
			return
		}
		if r.Method != http.MethodPost || r.URL.Path != "/api/warm" { // which reads a list of keys, as it goes
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		next.ServeHTTP(w, r)
	})
}

func isHealth(r *http.Request) bool { return r.URL.Path == "/livez" || r.URL.Path == "/readyz" }

// knownHost tells whether a Host header can only have come from somebody who meant this server.
func (a *Admin) knownHost(host string) bool {
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "localhost" || slices.Contains(a.o.Hosts, name) {
		return true
	}
	if own, _, err := net.SplitHostPort(a.o.Addr); err == nil && name != "" && name == strings.ToLower(own) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil
}

// shows tells whether a request has the token with that digest. It takes as long for a token that is nearly right.
func shows(r *http.Request, token [sha256.Size]byte) bool {
	scheme, shown, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		_, shown, ok = r.BasicAuth()
	}
	digest := sha256.Sum256([]byte(shown))
	return subtle.ConstantTimeCompare(digest[:], token[:]) == 1 && ok
}

// sameOrigin tells whether a request comes from a page of this server or from no page at all. Browsers say so in Sec-Fetch-Site,
// where they trust the connection, and in Origin, always with a POST; other programs send neither.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		link := r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
			r.Header.Get("Sec-Fetch-Dest") == "document"
		if !link {
			return false
		}
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && u.Host == r.Host
}
