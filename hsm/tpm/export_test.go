package tpm

// What the attacks in the tests must know that no user of the package may.
var (
	AuthValue = authValue
	DialError = dialError
)
