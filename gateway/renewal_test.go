package gateway_test

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// renew connects, or renews the token of a connection, with claims beside the user's.
func renew(t *testing.T, p *peer, user string, claims jwt.MapClaims) {
	t.Helper()
	claims["sub"], claims["exp"] = user, time.Now().Add(time.Hour).Unix()
	if f := p.answer(connect(p, signed(t, claims), "")); f.GetConnected() == nil {
		t.Fatalf("connect with %v was answered with %v", claims, f)
	}
}

// TestANewTokenChangesWhatItsUserModerates, creates and speaks in, from the next request on, in rooms joined before too.
func TestANewTokenChangesWhatItsUserModerates(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production)
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			room := "group:" + w.name
			alice, staff := open(t, srv.Addr(), w), open(t, srv.Addr(), w)
			renew(t, alice, "alice "+w.name, jwt.MapClaims{})
			alice.create(&v1.Create{Room: room, Speak: "moderator"})
			alice.change(room, "invite", "bob")

			with := func() jwt.MapClaims { return jwt.MapClaims{"moderate": []string{"*"}, "create": []string{"group:*"}} }
			renew(t, staff, "staff", with())
			staff.enter(room)
			create := func(name string) *v1.ServerFrame {
				return staff.answer(staff.request(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{Room: room + name}}}))
			}
			may := func() {
				t.Helper()
				for what, f := range map[string]*v1.ServerFrame{
					"mute": staff.change(room, "mute", "bob"), "ban from the server": staff.change("", "ban", "villain"),
					"create": create(" 1"), "publish": staff.answer(staff.publish(room, "", "x")),
				} {
					if f.GetError() != nil {
						t.Errorf("%s was answered with %v", what, f)
					}
				}
			}
			may()
			renew(t, staff, "staff", jwt.MapClaims{"create": []string{}})
			staff.wantError(staff.change(room, "unmute", "bob"), proto.ErrRoleForbidden)
			staff.wantError(staff.change("", "unban", "villain"), proto.ErrRoleForbidden)
			staff.wantError(create(" 2"), proto.ErrRoomForbidden)
			staff.wantError(staff.answer(staff.publish(room, "", "x")), proto.ErrRoleForbidden)
			renew(t, staff, "staff", with())
			may()

			// A token that does not allow the room ends what was joined there, and the membership stays.
			renew(t, staff, "staff", jwt.MapClaims{"rooms": []string{"other"}})
			if f := staff.until(func(f *v1.ServerFrame) bool { return f.GetLeft() != nil }); f.Id != 0 || f.GetLeft().Room != room {
				t.Errorf("the room was left with %v", f)
			}
			renew(t, staff, "staff", jwt.MapClaims{})
			if role := staff.enter(room).GetMembership().GetRole(); role != "member" {
				t.Errorf("staff comes back as %q", role)
			}
		})
	}
}
