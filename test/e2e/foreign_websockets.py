"""Python's websockets against the server, JSON by hand: join, publish, resume, clean close, and a chat of two.

Usage: foreign_websockets.py ws://HOST:PORT/ws

Run by foreign.test.js. Needs Debian's python3-websockets.
"""

import asyncio
import json
import sys

import websockets


class Peer:
    """A connection whose frames are read one after the other."""

    def __init__(self, socket):
        self.socket = socket
        self.frames = []

    async def send(self, *frames):
        await self.socket.send("\n".join(json.dumps(frame) for frame in frames))

    async def next(self, wanted):
        """The next frame that is wanted; others stay for later."""
        while True:
            for index, frame in enumerate(self.frames):
                if wanted(frame):
                    return self.frames.pop(index)
            text = await self.socket.recv()
            assert isinstance(text, str), "JSON comes in text messages"
            self.frames += [json.loads(line) for line in text.split("\n") if line]

    async def request(self, frame):
        await self.send(frame)
        return await self.next(lambda answer: answer.get("id") == frame["id"])

    async def message(self):
        return (await self.next(lambda frame: "message" in frame))["message"]


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


async def converse(address, subprotocols, room):
    async with websockets.connect(address, subprotocols=subprotocols) as socket:
        equal(socket.subprotocol, subprotocols[0] if subprotocols else None)
        alice = Peer(socket)
        equal((await alice.request({"id": 1, "connect": {"name": "alice"}}))["connected"]["user"], "alice")
        joined = (await alice.request({"id": 2, "join": {"room": room}}))["joined"]
        equal(joined["head"], 0)
        for number in range(1, 4):
            frame = {"id": 2 + number, "publish": {"room": room, "key": f"k{number}", "text": f"m{number} é"}}
            equal((await alice.request(frame))["published"]["seq"], number)
        equal([(await alice.message())["seq"] for _ in range(3)], [1, 2, 3])
        again = {"id": 9, "publish": {"room": room, "key": "k2", "text": "m2 é"}}
        equal((await alice.request(again))["published"]["seq"], 2)
    equal(socket.close_code, 1000)

    async with websockets.connect(address, subprotocols=subprotocols) as socket:
        alice = Peer(socket)
        await alice.request({"id": 1, "connect": {"name": "alice"}})
        resume = {"id": 2, "join": {"room": room, "epoch": joined["epoch"], "after": 1}}
        equal((await alice.request(resume))["joined"]["recovered"], True)
        equal([(await alice.message())["text"] for _ in range(2)], ["m2 é", "m3 é"])
        page = (await alice.request({"id": 3, "history": {"room": room, "before": 3, "limit": 50}}))["history"]
        equal([message["seq"] for message in page["messages"]], [1, 2])
        equal(page["more"], False)
        await asyncio.wait_for(await socket.ping(), timeout=10)
    equal(socket.close_code, 1000)


async def chat(address, room):
    """Two people in a group: membership, changes, receipts, presence, sync."""
    async with websockets.connect(address) as one, websockets.connect(address) as other:
        alice, bob = Peer(one), Peer(other)
        for peer, name in ((alice, "alice"), (bob, "bob")):
            await peer.request({"id": 1, "connect": {"name": name}})
        await alice.request({"id": 2, "create": {"room": room}})
        await alice.request({"id": 3, "member": {"room": room, "user": "bob", "action": "invite"}})
        await alice.request({"id": 4, "join": {"room": room}})
        await bob.request({"id": 2, "join": {"room": room}})
        await alice.request({"id": 5, "publish": {"room": room, "text": "hello", "mentions": ["bob"]}})
        await alice.request({"id": 6, "publish": {"room": room, "change": {"target": 1, "pin": {}}}})
        here = (await bob.request({"id": 3, "presence": {"room": room}}))["presence"]
        equal([user["user"] for user in here["users"]], ["alice", "bob"])
        synced = (await bob.request({"id": 4, "sync": {"messages": 1}}))["synced"]
        equal([(r["head"], r["unread"], r["mentions"], r["messages"][0]["pinned"]) for r in synced["rooms"]], [(2, 1, 1, True)])
        equal((await bob.request({"id": 5, "mark": {"room": room, "read": 2}}))["marked"]["delivered"], 2)
        receipt = (await alice.next(lambda frame: frame.get("receipt", {}).get("user") == "bob"))["receipt"]
        equal(receipt["read"], 2)


async def main(address):
    await converse(address, ["rookery.v1.json"], "python")
    print("with the subprotocol: ok")
    await converse(address, None, "python without")
    print("without one: ok")
    await chat(address, "group:python")
    print("a chat of two: ok")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
