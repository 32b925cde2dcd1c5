// Package fanout wakes those who wait for something to change.
//
// A wake-up says only "look again": what has changed is in the database, so a
// wake-up too many costs a look, and several become one.
package fanout

import "sync"

// Hub wakes waiters of the same process. It is safe for concurrent use.
type Hub struct {
	mu     sync.Mutex
	topics map[string]map[chan struct{}]bool
}

// New makes a Hub that nobody waits at.
func New() *Hub { return &Hub{topics: map[string]map[chan struct{}]bool{}} }

// Subscribe returns a channel that receives after every Publish of the topic
// from now on, and a function to end that, to be called once.
func (h *Hub) Subscribe(topic string) (wake <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[topic] == nil {
		h.topics[topic] = map[chan struct{}]bool{}
	}
	h.topics[topic][c] = true
	return c, func() { h.remove(topic, c) }
}

func (h *Hub) remove(topic string, c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.topics[topic], c)
	if len(h.topics[topic]) == 0 {
		delete(h.topics, topic)
	}
}

// Publish wakes the subscribers of the topics. It never blocks.
func (h *Hub) Publish(topics ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		wakeAll(h.topics[topic])
	}
}

// PublishAll wakes every subscriber, for when it is not known what changed.
func (h *Hub) PublishAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiters := range h.topics {
		wakeAll(waiters)
	}
}

func wakeAll(waiters map[chan struct{}]bool) {
	for c := range waiters {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Device is the topic of what a device is asked and may do.
func Device(id string) string { return "device/" + id }

// Transaction is the topic of a transaction's state.
func Transaction(id string) string { return "transaction/" + id }
