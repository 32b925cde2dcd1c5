package state_test

import (
	"fmt"
	"os"
	"testing"

	"countersign/agent/state"
	"countersign/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.RunOrLive(m, live)) }

// live is a short life of a state directory. What is printed has returned.
func live(root string) error {
	d, err := state.Open(root)
	if err != nil {
		return err
	}
	if err := d.Reserve(state.Reservation{Name: "index", Provider: "tpm", Data: []byte("index")}); err != nil {
		return err
	}
	fmt.Println("reserved")
	e := enrollment("first")
	e.Reserved = []string{"index"}
	if err := d.BeginEnrollment(e); err != nil {
		return err
	}
	fmt.Println("begun")
	if err := d.Unreserve("index"); err != nil {
		return err
	}
	fmt.Println("settled")
	e.ID = "enrollment-1"
	if err := d.SaveEnrollment(e); err != nil {
		return err
	}
	fmt.Println("saved")
	p := profile("profile-1", e)
	if err := d.CompleteEnrollment(e, p); err != nil {
		return err
	}
	fmt.Println("completed")
	for seq := int64(1); seq <= 2; seq++ {
		if err := d.SaveTrust(&p, trust(seq)); err != nil {
			return err
		}
		fmt.Println("trusted")
	}
	for seq := uint64(1); seq <= 2; seq++ {
		if err := d.SaveEntry(p.ID, entry(seq)); err != nil {
			return err
		}
		fmt.Println("entry")
	}
	if err := d.RemoveEntry(p.ID, 1); err != nil {
		return err
	}
	fmt.Println("removed")
	gone := enrollment("second")
	if err := d.BeginEnrollment(gone); err != nil {
		return err
	}
	if err := d.AbandonEnrollment(gone); err != nil {
		return err
	}
	fmt.Println("abandoned")
	if err := d.RemoveProfile(p.ID); err != nil {
		return err
	}
	fmt.Println("left")
	return d.Close()
}
