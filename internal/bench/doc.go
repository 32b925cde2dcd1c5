// Package bench measures what the service costs a computer that has nothing to
// decide: memory, wake-ups, how soon it is ready and how much disk it takes, each
// beside a program that does next to nothing. "make bench" prints it; nothing here
// is ever shipped, and no test compares what was measured.
package bench
