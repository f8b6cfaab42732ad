package admin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
)

// The dashboard: a page, its script and style, and uPlot 1.6.32, which draws the charts (MIT, see uPlot.LICENSE). The page asks
// nobody but this server.
//
//go:embed ui
var ui embed.FS

// uiRoutes serves the page at / and its files at /ui/.
func uiRoutes(mux *http.ServeMux) {
	files, err := fs.ReadDir(ui, "ui")
	if err != nil {
		panic(err) // they are in the binary
	}
	for _, f := range files {
		at := "/ui/" + f.Name()
		if f.Name() == "index.html" {
			at = "/{$}"
		}
		mux.Handle("GET "+at, uiFile(f.Name()))
	}
}

// uiKinds are the files' kinds by their names' ends. Package mime would keep half a megabyte of the system's for them.
var uiKinds = map[string]string{
	".html":    "text/html; charset=utf-8",
	".js":      "text/javascript; charset=utf-8",
	".css":     "text/css; charset=utf-8",
	".svg":     "image/svg+xml",
	".LICENSE": "text/plain; charset=utf-8",
}

func uiFile(name string) http.Handler {
	b, err := ui.ReadFile("ui/" + name)
	if err != nil {
		panic(err) // it is in the binary
	}
	sum := sha256.Sum256(b)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	kind := uiKinds[path.Ext(name)]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache") // ask each time whether it has changed
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(b) // an error says that the client has left
	})
}
