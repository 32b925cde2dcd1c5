package installer

import "fmt"

// Codes of what installing refuses. They are stable: programs branch on them.
const (
	CodeNeedsRoot    = "needs_root"
	CodePackaged     = "package_owned"
	CodeConflict     = "file_conflict"
	CodeUnsafe       = "unsafe_path"
	CodeProgram      = "program_missing"
	CodeInit         = "init_unsupported"
	CodeRecord       = "install_record"
	CodeStep         = "install_step"
	CodeNotInstalled = "not_installed"
)

// Error is a refusal, or a step that failed, in words for the administrator.
type Error struct {
	Code, Message string
	// Cure is what to do about it: a command, word for word, where one does.
	Cure string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

func fail(code, cure, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...), cure}
}
