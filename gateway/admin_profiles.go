package gateway

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
)

// waiting serves the profiles of goroutines that wait for a mutex or for each other. The runtime keeps them only while it is
// asked to, which costs something, so that is while one is being taken: ?seconds=N, 10 if it is not said.
func waiting(mux *http.ServeMux) {
	var one sync.Mutex // the runtime has one rate for all
	for name, keep := range map[string]func(on int){
		"mutex": func(on int) { runtime.SetMutexProfileFraction(on) },
		"block": runtime.SetBlockProfileRate,
	} {
		mux.HandleFunc("GET /debug/pprof/"+name, func(w http.ResponseWriter, r *http.Request) {
			if !one.TryLock() {
				http.Error(w, "another profile of waiting is being taken: ask again when it has ended", http.StatusConflict)
				return
			}
			defer one.Unlock()
			keep(1)
			defer keep(0)
			if query := r.URL.Query(); !query.Has("seconds") {
				query.Set("seconds", "10")
				r.URL.RawQuery = query.Encode()
			}
			pprof.Handler(name).ServeHTTP(w, r)
		})
	}
}
