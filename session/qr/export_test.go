package qr

// Confine is for a test that tries to get out.
var Confine = confine
