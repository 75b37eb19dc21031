// A Socket.IO server as the dialect socket.io wants it: three events with acknowledgements, and one that it sends.
// It prints its address.

import { createServer } from 'node:http';
import { Server } from 'socket.io';

const http = createServer();
const io = new Server(http, { pingInterval: 200 }); // short, so that a test sees pings
io.use((socket, next) => next(socket.handshake.auth.token === 'bad' ? new Error('not you') : undefined));
io.on('connection', (socket) => {
  socket.on('join', (room, done) => {
    if (room.startsWith('forbidden')) return done({ error: 'forbidden' });
    socket.join(room);
    done();
  });
  socket.on('leave', (room, done) => {
    socket.leave(room);
    done();
  });
  socket.on('publish', (message, done) => {
    io.to(message.room).emit('message', message);
    done();
  });
});
http.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${http.address().port}`));
