// A WebSocket server that sends on what it gets, with rooms. The argument says who gets a message: everyone,
// others, room, room-others or sender. It prints its address.

import { WebSocketServer } from 'ws';

const reaches = process.argv[2] ?? 'room';
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
server.on('listening', () => console.log(`127.0.0.1:${server.address().port}`));

const gets = {
  everyone: () => true,
  others: (member, sender) => member !== sender,
  room: (member, sender, room) => member.rooms.has(room),
  'room-others': (member, sender, room) => member !== sender && member.rooms.has(room),
  sender: (member, sender) => member === sender,
}[reaches];

server.on('connection', (socket) => {
  socket.rooms = new Set();
  socket.on('message', (data, binary) => {
    const text = data.toString();
    const { join, leave, publish, body, id } = JSON.parse(text);
    if (join !== undefined) {
      socket.rooms.add(join);
      socket.send(JSON.stringify({ joined: join, id }));
    } else if (leave !== undefined) {
      socket.rooms.delete(leave);
    } else if (publish !== undefined) {
      const message = JSON.stringify({ room: publish, body });
      for (const member of server.clients) {
        if (gets(member, socket, publish)) member.send(message, { binary });
      }
    }
  });
});
