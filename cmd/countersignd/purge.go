package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"countersign/agent"
	"countersign/agent/state"
)

const purgeLong = `Purge removes the keys of all enrollments on this computer from their chips, and
then the state directory with everything in it. Servers are not told: have them
revoke the devices, or end each enrollment with countersign unenroll before.

Without --yes it says what it would remove. The service must not run. It takes the
user that the service runs as, since root does not trust what that user wrote:

  systemctl stop countersignd.socket countersignd.service
  runuser -u countersign -G tss -- countersignd purge --yes

Where something cannot be removed from its chip the state stays, so that it can be
tried again; --force removes the state all the same.`

type purgeFlags struct {
	yes, force bool
	prepare    string
}

func purgeCommand(f *flags) *cobra.Command {
	var p purgeFlags
	cmd := &cobra.Command{
		Use: "purge", Short: "Remove all keys and all state from this computer", Long: purgeLong,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if p.prepare != "" {
				return preparePurge(cfg, p.prepare)
			}
			return purge(cmd, cfg, p)
		},
	}
	cmd.Flags().BoolVar(&p.yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&p.force, "force", false, "remove the state even where a chip keeps something")
	cmd.Flags().StringVar(&p.prepare, "prepare", "", "only copy to a `directory` what it takes to purge when this program is removed; nothing where there is nothing to purge")
	return cmd
}

// purge removes what is in chips first: the state says where it is.
func purge(cmd *cobra.Command, cfg config, p purgeFlags) (err error) {
	out := cmd.OutOrStdout()
	if !state.Exists(cfg.State) {
		fmt.Fprintf(out, "There is nothing in %s.\n", cfg.State)
		return nil
	}
	if err := mustOwn(cfg.State); err != nil {
		return err
	}
	dir, err := state.Open(cfg.State)
	if errors.Is(err, state.ErrInUse) {
		return fmt.Errorf("%w: systemctl stop countersignd.socket countersignd.service", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	list, err := agent.Leftovers(dir)
	if err != nil && !p.force {
		return err
	}
	if !p.yes {
		announce(out, cfg, list)
		return nil
	}
	stays, err := cfg.removeFromChips(cmd, list)
	if err != nil && !p.force {
		return err
	}
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "Not removed from any chip: %v\n", err)
	}
	if err := cmd.Context().Err(); err != nil { // whoever ended it did not mean the rest
		return fmt.Errorf("ended before its end; %s stays, so that you can try again: %w", cfg.State, err)
	}
	if stays > 0 && !p.force {
		return fmt.Errorf("%d of %d stay in a chip; %s stays, so that you can try again", stays, len(list), cfg.State)
	}
	if err := dir.Erase(); err != nil {
		return err
	}
	fmt.Fprintf(out, "Removed %s: enrollments, what waited to be delivered, and the record of what happened.\n", cfg.State)
	return nil
}

// announce says what would be removed.
func announce(out io.Writer, cfg config, list []agent.Leftover) {
	for _, l := range list {
		fmt.Fprintln(out, l)
	}
	fmt.Fprintf(out, "and all of %s. To remove it: countersignd purge --yes\n", cfg.State)
}

// removeFromChips removes each, says so, and counts what stays.
func (c config) removeFromChips(cmd *cobra.Command, list []agent.Leftover) (stays int, err error) {
	if len(list) == 0 {
		return 0, nil // what there is goes without any chip
	}
	keys, closeKeys, err := c.chips()
	if err != nil {
		return len(list), usageError{err}
	}
	for _, l := range list {
		l.Remove(cmd.Context(), keys)
		if l.Err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "Removed %v.\n", l)
			continue
		}
		stays++
		fmt.Fprintf(cmd.ErrOrStderr(), "Not removed: %v: %s\n", l, l.Trouble())
	}
	return stays, closeKeys()
}

// mustOwn keeps root from walking where somebody else can lay links.
func mustOwn(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user: runuser -u countersign -G tss -- countersignd purge", dir)
	}
	return nil
}
