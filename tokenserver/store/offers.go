package store

import (
	"time"

	"countersign/protocol"
)

// Offer is a transaction without a user, until a device redeems its code. From
// then on there is a Transaction of the same id.
type Offer struct {
	ID         string
	ClientID   string
	ClientName string
	Type       string
	Method     string
	Class      protocol.Class
	Number     string
	// Code is the SHA-256 of the code.
	Code    []byte
	Content Content
	// State is pending, expired or cancelled.
	State     protocol.State
	CreatedAt time.Time
	ExpiresAt time.Time
	EndedAt   time.Time
	// Device is the one that redeemed the code, or "".
	Device string
}

// Content is what a relying party wants approved.
type Content struct {
	Message     string            `json:"message"`
	Details     []protocol.Detail `json:"details,omitempty"`
	Context     *protocol.Context `json:"context,omitempty"`
	SigningData string            `json:"signing_data,omitempty"`
}

// Offers are the transactions without a user.
type Offers interface {
	// AddOffer returns ErrConflict where the id or the code is known.
	AddOffer(o Offer) error
	Offer(id string) (Offer, error)
	OfferOf(code []byte) (Offer, error)
	// RedeemOffer gives a pending offer to a device, once; else ErrConflict.
	RedeemOffer(id, device string) error
	// EndOffer makes a pending offer that nobody redeemed final; else
	// ErrConflict.
	EndOffer(id string, state protocol.State, at time.Time) error
	// OverdueOffers returns the ids of at most limit offers that wait still and
	// whose time is over.
	OverdueOffers(now time.Time, limit int) ([]string, error)
}
