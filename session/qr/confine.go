package qr

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// What reading a picture may take beyond what the process has already.
const (
	moreMemory = 1 << 30
	cpuSeconds = 5
)

// confine gives up, for every thread and for good, all that reading a picture
// does not take: what is left is memory, time, and the descriptors that are
// open. The system calls are a list of what may be, so that what a later
// kernel invents is refused too.
func confine() error {
	if err := limit(); err != nil {
		return err
	}
	info, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	filter := seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy(info)}
	if err := seccomp.LoadFilter(filter); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

// policy lets through what Go's runtime does on its own, and reading and
// writing what is open.
func policy(info *arch.Info) seccomp.Policy {
	allowed := []string{
		"read", "write", "close", "fstat", "fcntl",
		"mmap", "munmap", "mprotect", "madvise", "mremap", "brk", "mincore",
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "getpid", "gettid",
		"futex", "set_robust_list", "rseq", "membarrier", "sched_yield", "sched_getaffinity",
		"nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "getrandom", "restart_syscall",
		"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2",
		"exit", "exit_group",
	}
	known := func(names []string) (here []string) {
		for _, name := range names {
			if _, ok := info.SyscallNames[name]; ok {
				here = append(here, name)
			}
		}
		return here
	}
	thread := seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{
			{Action: seccomp.ActionAllow, Names: known(allowed)},
			// A new thread, never a new process.
			{Action: seccomp.ActionAllow, NamesWithCondtions: []seccomp.NameWithConditions{
				{Name: "clone", Conditions: seccomp.ArgumentConditions{thread}},
			}},
			// Its flags are out of a filter's sight. A C library that is told
			// that there is no such call takes the one before.
			{Action: seccomp.ActionErrno | seccomp.Action(syscall.ENOSYS), Names: known([]string{"clone3"})},
		},
	}
}

// limit bounds what the process may take of the machine.
func limit() error {
	memory, err := dataSize()
	if err != nil {
		return err
	}
	for _, l := range []struct {
		what  int
		limit uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_FSIZE, 0},
		{unix.RLIMIT_CPU, cpuSeconds},
		{unix.RLIMIT_DATA, memory + moreMemory},
	} {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.limit, Max: l.limit}); err != nil {
			return fmt.Errorf("setrlimit %d: %w", l.what, err)
		}
	}
	return nil
}

// dataSize is what counts towards RLIMIT_DATA now.
func dataSize() (uint64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("own memory: %w", err)
	}
	fields := bytes.Fields(statm)
	if len(fields) < 6 {
		return 0, fmt.Errorf("own memory: /proc/self/statm has %d fields", len(fields))
	}
	pages, err := strconv.ParseUint(string(fields[5]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("own memory: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}
