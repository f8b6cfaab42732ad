// Package testdata carries the real input of the demo, the tests and the benchmarks: 1,842 devices, 252 countries, and the
// 5,796 characteristics of a request that follow from them. It knows the tables in PostgreSQL's and SQLite's dialects and
// makes the composite keys that ask for them, but it imports no driver and no other package of the project.
//
// A wildcard like ./... skips folders of this name: name the package to test it.
package testdata

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

//go:embed devices.csv.gz
var devicesCSV []byte

//go:embed countries.csv
var countriesCSV []byte

// Device is a browser met in the wild.
type Device struct {
	ID        int
	OS        string
	OSVersion string
	Browser   string
	Category  string // mobile, tablet or desktop
	Vendor    string
	Width     int // screen, in pixels
	Height    int
	Weight    float64 // share of traffic; the sum over all devices is not 1
	UserAgent string
}

// Country is a country of ISO 3166-1, or one of the few territories beside it.
type Country struct {
	Code       string // two letters
	Name       string
	Continent  string
	Currencies []string // the first is the usual one; none in Antarctica
	Languages  []string
}

var devices = sync.OnceValue(func() []Device {
	zr, err := gzip.NewReader(bytes.NewReader(devicesCSV))
	if err != nil {
		panic("testdata: devices.csv.gz: " + err.Error())
	}
	var ds []Device
	for _, r := range records("devices.csv.gz", zr, 10) {
		d := Device{OS: r[1], OSVersion: r[2], Browser: r[3], Category: r[4], Vendor: r[5], UserAgent: r[9]}
		d.ID = number("devices.csv.gz", r[0])
		d.Width = number("devices.csv.gz", r[6])
		d.Height = number("devices.csv.gz", r[7])
		if d.Weight, err = strconv.ParseFloat(r[8], 64); err != nil {
			panic("testdata: devices.csv.gz: " + err.Error())
		}
		ds = append(ds, d)
	}
	return ds
})

var countries = sync.OnceValue(func() []Country {
	var cs []Country
	for _, r := range records("countries.csv", bytes.NewReader(countriesCSV), 5) {
		cs = append(cs, Country{Code: r[0], Name: r[1], Continent: r[2], Currencies: list(r[3]), Languages: list(r[4])})
	}
	return cs
})

// Devices returns the devices in the order of their ids, which count from 1. The slice is shared: do not change it.
func Devices() []Device { return devices() }

// Countries returns the countries in the order of their codes. The slice is shared: do not change it.
func Countries() []Country { return countries() }

// records reads a CSV file without its head line. The files are part of the binary, so a bad one is a programmer's mistake.
func records(name string, r io.Reader, fields int) [][]string {
	cr := csv.NewReader(r)
	cr.FieldsPerRecord = fields
	rows, err := cr.ReadAll()
	if err != nil || len(rows) == 0 {
		panic(fmt.Sprintf("testdata: %s: %v", name, err))
	}
	return rows[1:]
}

func number(name, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("testdata: " + name + ": " + err.Error())
	}
	return n
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ";")
}
