package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Reservation is what a chip was about to hold for a key that did not exist
// yet. It is written before the chip holds anything, so that what a crash
// leaves there can be found and removed.
type Reservation struct {
	Name     string    `json:"-"`
	Provider string    `json:"provider"`
	UID      uint32    `json:"uid"`
	At       time.Time `json:"at"`
	// Data is the back end's own.
	Data []byte `json:"data,omitempty"`
	// Key is the reference of a key that was made and not used, which takes a
	// person to remove. Data is then empty.
	Key []byte `json:"key,omitempty"`
}

const reservationSuffix = ".json"

func (d *Dir) reservationFile(name string) string {
	return filepath.Join(d.root, reservedDir, name+reservationSuffix)
}

// Reserve makes a reservation durable under its name.
func (d *Dir) Reserve(r Reservation) error {
	if err := writeJSON(d.reservationFile(r.Name), r); err != nil {
		return fmt.Errorf("state: reserve: %w", err)
	}
	return nil
}

// Unreserve forgets a reservation. One that is not there is no error.
func (d *Dir) Unreserve(name string) error {
	if err := removeFile(d.reservationFile(name)); err != nil {
		return fmt.Errorf("state: forget reservation: %w", err)
	}
	return nil
}

// Reserved reports whether a reservation is there.
func (d *Dir) Reserved(name string) bool {
	_, err := os.Stat(d.reservationFile(name))
	return err == nil
}

// Reservations lists them. One that cannot be read is reported in the error
// and does not hide the others.
func (d *Dir) Reservations() ([]Reservation, error) {
	files, err := d.names(reservedDir)
	if err != nil {
		return nil, err
	}
	var list []Reservation
	var bad []error
	for _, file := range files {
		r := Reservation{Name: strings.TrimSuffix(file, reservationSuffix)}
		switch err := readJSON(filepath.Join(d.root, reservedDir, file), &r); {
		case errors.Is(err, os.ErrNotExist): // forgotten meanwhile
		case err != nil:
			bad = append(bad, fmt.Errorf("state: reservation %s: %w", file, err))
		default:
			list = append(list, r)
		}
	}
	return list, errors.Join(bad...)
}
