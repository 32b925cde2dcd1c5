package portal

// What the tests of the file look at.
var (
	FileOf = fileOf
	Take   = take
)
