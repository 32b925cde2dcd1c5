package ipc

import (
	"net/http"
	"net/url"
)

// query is the view as the parameters of a call.
func (v View) query() string {
	q := url.Values{}
	if v.Language != "" {
		q.Set("lang", v.Language)
	}
	if v.TimeZone != "" {
		q.Set("tz", v.TimeZone)
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// ViewOf reads the view that a call asks for.
func ViewOf(r *http.Request) View {
	q := r.URL.Query()
	return View{Language: q.Get("lang"), TimeZone: q.Get("tz")}
}
