package gateway

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rookery/gateway/internal/rate"
)

// ratesOff is LimitsConfig.Rates without any.
const ratesOff = "off"

// rateRules reads all rates of the limits.
func (c LimitsConfig) rateRules() (rate.Rules, error) {
	rules := rate.Rules{Raise: float64(c.ClaimedRates)}
	if c.MessagesPerSecond > 0 {
		rules.Of[rate.User][rate.Publish] = rate.PerSecond(float64(c.MessagesPerSecond), float64(c.MessageBurst))
	}
	if slices.Equal(c.Rates, []string{ratesOff}) {
		return rules, nil
	}
	for _, text := range c.Rates {
		scope, operation, r, err := parseRate(text)
		switch {
		case err != nil:
			return rate.Rules{}, fmt.Errorf("has the rate %q, which %w; write one like 'user join 50/s burst 5000', or off alone", text, err)
		case scope == rate.User && operation == rate.Publish:
			return rate.Rules{}, fmt.Errorf("has the rate %q, which is limits.messages_per_second and limits.message_burst; set those", text)
		case !rules.Of[scope][operation].None():
			return rate.Rules{}, fmt.Errorf("has a second rate of %v %v, %q; one holds", scope, operation, text)
		}
		if operation == rate.Bytes {
			// Else the largest message would never be let in.
			r = rate.PerSecond(r.Average(), max(r.Burst(), float64(c.MessageBytes)))
		}
		rules.Of[scope][operation] = r
	}
	return rules, nil
}

// parseRate reads SCOPE OPERATION RATE/s burst BURST.
func parseRate(text string) (rate.Scope, rate.Operation, rate.Rate, error) {
	fail := func(reason string) (rate.Scope, rate.Operation, rate.Rate, error) {
		return 0, 0, rate.Rate{}, fmt.Errorf("%s", reason)
	}
	words := strings.Fields(text)
	if len(words) != 5 || words[3] != "burst" {
		return fail("is not of five words")
	}
	scope, operation, err := rate.Parse(words[0], words[1])
	if err != nil {
		return 0, 0, rate.Rate{}, err
	}
	average, perSecond := strings.CutSuffix(words[2], "/s")
	if !perSecond {
		return fail("has a rate that is not so many a second")
	}
	number := func(text string) (float64, error) {
		if operation != rate.Bytes {
			return strconv.ParseFloat(text, 64)
		}
		var size int64
		err := sizeValue[int64]{field: &size}.Set(text)
		return float64(size), err
	}
	a, errAverage := number(average)
	b, errBurst := number(words[4])
	switch {
	case errAverage != nil || !(a >= 0.001 && a <= 1e12):
		return fail("has a rate that is no number from 0.001 on")
	case errBurst != nil || !(b >= 1 && b <= 1e12):
		return fail("has a burst that is no number from 1 on")
	}
	return scope, operation, rate.PerSecond(a, b), nil
}
