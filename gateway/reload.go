package gateway

import (
	"slices"
	"strings"

	"rookery/gateway/internal/audit"
	"rookery/gateway/internal/loop"
)

// rules are the settings that hold for whoever connects next.
func rules(cfg Config, auth *authenticator) loop.Rules {
	rates, err := cfg.Limits.rateRules()
	if err != nil {
		panic("BUG: a validated configuration has rates that can't be read: " + err.Error())
	}
	proxies, err := cfg.Proxy.networks()
	if err != nil {
		panic("BUG: a validated configuration has networks of proxies that can't be read: " + err.Error())
	}
	return loop.Rules{
		Auth:               auth,
		Origins:            cfg.Limits.Origins,
		ConnectionsPerIP:   cfg.Limits.ConnectionsPerIP,
		ConnectionsPerUser: cfg.Limits.ConnectionsPerUser,
		Rates:              rates,
		Proxies:            proxies,
		ProxyProtocol:      proxyProtocols[cfg.Proxy.Protocol],
	}
}

// reloadable are the names of the settings that Reload puts in force, or their groups. The
// level of the log lines is the caller's, who made the logger.
var reloadable = []string{
	"auth.", "api.", "proxy.trusted", "proxy.protocol", "limits.origins", "limits.connections", "limits.connections_per_ip",
	"limits.connections_per_user", "limits.messages_per_second", "limits.message_burst", "limits.rates", "limits.claimed_rates",
	"retention.", "logging.level", "tls.acme.domains",
}

// Reload puts in force what can change in a running server and returns the names of
// settings that differ from those that it was started with but need a restart. If cfg can't
// be used nothing changes. While another server of this process is being made it waits for that one. Safe for concurrent use.
func (s *Server) Reload(cfg Config) (needRestart []string, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// Its disk may not answer, and nobody who goes on after a takeover that failed waits for that: so it is before the lock and behind it. All servers of this
	// process have the same one.
	if err := s.audit.Reopen(); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			s.audit.Write(audit.Entry{Operation: "reload"})
		}
	}()
	s.succession.Lock()
	defer s.succession.Unlock()
	s = s.current()
	connections, err := capacity(cfg.Limits.Connections, s.descriptors, s.cfg.reservedDescriptors(s.loops))
	if err != nil {
		return nil, err
	}
	// Development mode decides who is let in without a token; that stays as it was started.
	authCfg := cfg
	authCfg.Dev = s.cfg.Dev
	retained, err := parseRetention(cfg.Retention)
	if err != nil {
		return nil, err
	}
	keys, err := cfg.apiKeys()
	if err != nil {
		return nil, err
	}
	keySet := s.keySet.next(cfg.Auth, s.log)
	auth, err := newAuthenticator(authCfg, keySet, s.revocations, s.pageKeys.tokens...)
	if err != nil {
		s.keySet.discard(keySet)
		return nil, err
	}
	s.reloadCertificates(cfg)
	s.keySet.use(cfg.Auth, keySet)
	s.auth.Store(&cfg.Auth)
	s.api.SetKeys(keys)
	s.retentionRules.Store(&retained)
	s.store.Retain(s.retention) // all rooms are asked for again
	s.engine.SetRules(rules(cfg, auth))
	s.engine.SetCapacity(connections)
	s.inForce.Store(s.reloaded(&cfg))
	s.read.Store(&cfg)
	for _, setting := range settings() {
		if !s.canReload(setting.name) && setting.value(&cfg).String() != setting.value(&s.cfg).String() {
			needRestart = append(needRestart, setting.name)
		}
	}
	return needRestart, nil
}

func (s *Server) canReload(name string) bool {
	if name == "tls.acme.domains" && s.secure.keeper == nil {
		return false // it is turned on with a restart
	}
	return slices.ContainsFunc(reloadable, func(r string) bool {
		return name == r || strings.HasSuffix(r, ".") && strings.HasPrefix(name, r)
	})
}
