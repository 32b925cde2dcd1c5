package main

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

//go:embed page.html style.css
var files embed.FS

const (
	// waitSeconds is how long a page waits for the decision before the
	// browser asks again.
	waitSeconds = 25
	// keep is how many transactions the portal remembers; the oldest go.
	keep = 100
)

// portal serves the pages.
type portal struct {
	api  *api
	user string
	page *template.Template

	mu      sync.Mutex
	started []transaction // oldest first
}

// view is what the page is made from.
type view struct {
	Form    wish
	Details string
	Error   string
	Code    string
	// Shown is the transaction the page is about; nil shows the form.
	Shown   *transaction
	Refresh string
}

// newPortal makes the handler for the pages at host, the only name it answers
// to: a page elsewhere cannot reach it by a name of its own.
func newPortal(a *api, user, host string) http.Handler {
	p := &portal{api: a, user: user, page: template.Must(template.ParseFS(files, "page.html"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.form)
	mux.HandleFunc("POST /transactions", p.start)
	mux.HandleFunc("GET /transactions/{id}", p.show)
	mux.HandleFunc("GET /transactions/{id}/evidence", p.evidence)
	mux.Handle("GET /style.css", http.FileServerFS(files))
	return guard(host, http.NewCrossOriginProtection().Handler(mux))
}

// guard refuses foreign hosts and tells the browser to run no script at all.
func guard(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if r.Host != host {
			http.Error(w, "this portal answers at http://"+host+"/ only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *portal) form(w http.ResponseWriter, _ *http.Request) {
	p.render(w, http.StatusOK, view{
		Form:    wish{User: p.user, Type: "login", Message: "Log in to the example portal"},
		Details: "Account: " + p.user,
	})
}

func (p *portal) start(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	form := wish{Type: r.PostFormValue("type"), User: r.PostFormValue("user"), Message: r.PostFormValue("message")}
	v := view{Form: form, Details: r.PostFormValue("details")}
	var err error
	if form.Details, err = parseDetails(v.Details); err != nil {
		p.fail(w, v, err)
		return
	}
	form.Context = originOf(r)
	t, err := p.api.start(r.Context(), form)
	if err != nil {
		p.fail(w, v, err)
		return
	}
	p.remember(t)
	http.Redirect(w, r, "/transactions/"+t.ID, http.StatusSeeOther)
}

// parseDetails reads one "Label: value" a line.
func parseDetails(text string) ([]detail, error) {
	var details []detail
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		label, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, errors.New(`each detail is a line "Label: value"`)
		}
		details = append(details, detail{strings.TrimSpace(label), strings.TrimSpace(value)})
	}
	return details, nil
}

func originOf(r *http.Request) *origin {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	return &origin{IP: ip, UserAgent: r.UserAgent()}
}

// show answers at once at first, so that the number is seen, and from then on
// when the transaction is final. The browser keeps showing the old page while
// it waits for the new one, and needs no script for that.
func (p *portal) show(w http.ResponseWriter, r *http.Request) {
	known, ok := p.recall(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	wait := 0
	if r.URL.Query().Has("wait") {
		wait = waitSeconds
	}
	t, err := p.api.look(r.Context(), known.ID, wait)
	if err != nil {
		p.fail(w, view{}, err)
		return
	}
	t.Number, t.ExpiresAt = known.Number, known.ExpiresAt.Local()
	v := view{Shown: &t}
	if t.Status == "pending" {
		v.Refresh = "/transactions/" + t.ID + "?wait"
	}
	p.render(w, http.StatusOK, v)
}

func (p *portal) evidence(w http.ResponseWriter, r *http.Request) {
	known, ok := p.recall(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	t, err := p.api.look(r.Context(), known.ID, 0)
	if err != nil {
		p.fail(w, view{}, err)
		return
	}
	if len(t.Evidence) == 0 {
		http.Error(w, "this transaction has no evidence", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "evidence-"+t.ID+".json"))
	_, _ = w.Write(t.Evidence)
}

// remember keeps what only the first answer says.
func (p *portal) remember(t transaction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = append(p.started, t)
	if len(p.started) > keep {
		p.started = p.started[1:]
	}
}

func (p *portal) recall(id string) (transaction, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.started {
		if t.ID == id {
			return t, true
		}
	}
	return transaction{}, false
}

// fail shows the form again with what went wrong.
func (p *portal) fail(w http.ResponseWriter, v view, err error) {
	v.Error = err.Error()
	status := http.StatusBadGateway
	if refused, ok := errors.AsType[*problem](err); ok {
		v.Code, status = refused.Code, http.StatusUnprocessableEntity
	}
	p.render(w, status, v)
}

func (p *portal) render(w http.ResponseWriter, status int, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = p.page.Execute(w, v) // the browser has gone
}

// Spaced sets the digits of the number apart, as people read them.
func (t transaction) Spaced() string { return strings.Join(strings.Split(t.Number, ""), " ") }

// Until is when the transaction expires, for people.
func (t transaction) Until() string { return t.ExpiresAt.Format(time.TimeOnly) }

// Headline says what became of the transaction.
func (t transaction) Headline() string {
	switch t.Status {
	case "approved":
		return "Approved. Welcome."
	case "denied":
		if t.Reason == "not_me" {
			return "Denied: somebody else tried to log in"
		}
		return "Denied"
	case "expired":
		return "Nobody answered in time"
	case "cancelled":
		return "Cancelled"
	case "failed":
		return "Failed: the number was wrong too often"
	}
	return "Approve on your computer"
}
