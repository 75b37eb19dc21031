// What a look of the server says, as rows of words: which figures there are, in which order, and which of them are a
// matter of concern. It knows nothing of the document.

import { byteRate, bytes, count, duration, latency, rate } from './units.js';

/** A row: what it is, its value, and a tone: '', 'wait' for what to keep an eye on, 'bad' for what to act on. */
const row = (name, value, tone = '', hint = '') => ({ name, value, tone, hint });

/** Three rows of quantiles, or one that says that there are none. */
function quantiles(name, { count: n, overSeconds, p50, p99, p999 }) {
  if (n === 0) return [row(name, 'none yet')];
  return [
    row(`${name}, median`, latency(p50)), row(`${name}, 99 %`, latency(p99)),
    row(`${name}, 99.9 %`, latency(p999), '', `of ${count(n)} in ${duration(overSeconds)}`),
  ];
}

/** The groups of figures, by the id of where they go. */
export function groups(look) {
  const { connections, rates, memory, log, ship, publish, sync } = look;
  const kernel = memory.kernel;
  const full = connections.capacity > 0 ? connections.open / connections.capacity : 0;
  return {
    connections: [
      row('Open', `${count(connections.open)} of ${count(connections.capacity)}`, full >= 1 ? 'bad' : full > 0.9 ? 'wait' : ''),
      row('Sessions', count(connections.sessions)),
      ...connections.protocols.map(({ name, count: n }) => row(name, count(n))),
      row('New', rate(rates.opened)),
      row('Rooms joined', count(connections.subscriptions)),
      row('Rooms in memory', count(connections.rooms)),
      row('In slow mode', count(look.slowMode)),
    ],
    traffic: [
      row('Requests in', rate(rates.requests)),
      row('Published', rate(rates.published)),
      row('Ephemeral', rate(rates.ephemeral)),
      row('Deliveries out', rate(rates.deliveries)),
      row('Bytes in', byteRate(rates.bytesIn)),
      row('Bytes out', byteRate(rates.bytesOut)),
      row('Publishes refused', rate(rates.publishesRefused), rates.publishesRefused > 0 ? 'bad' : ''),
      row('Waits for sockets', bytes(look.outboundBytes)),
      row('Rooms behind', count(look.subscriptionsBehind), look.subscriptionsBehind > 0 ? 'wait' : '', `${rate(rates.recentDeliveries)} from memory, ${rate(rates.pages)} pages of the log`),
    ],
    latency: [
      ...quantiles('Publish', publish),
      ...quantiles('Sync', sync),
      ...look.loops.map((loop, i) => row(`Loop ${i}`, `${count(loop.connections ?? 0)} connections`, '', `${bytes(loop.mailboxBytes)} waiting`)),
      row('Shards', `${look.shards.length}`, '', `${bytes(look.shards.reduce((sum, shard) => sum + shard.mailboxBytes, 0))} waiting`),
    ],
    memory: [
      row('Process', bytes(memory.residentBytes), '', `heap ${bytes(memory.heapBytes)}`),
      row('Last messages of rooms', bytes(memory.recentBytes), '', 'kept for who is behind'),
      row('For a connection', connections.open > 0 ? bytes(memory.perConnectionBytes) : '–', '', 'process, over all open'),
      ...(kernel.fault
        ? [row('Kernel', 'unknown', 'wait', kernel.fault)]
        : [
          row('Kernel: sockets', count(kernel.inUse), '', `TCP, of this network namespace; ${count(kernel.sockets)} on the machine, ${count(kernel.timeWait)} ended`),
          row('Kernel: buffers', bytes(kernel.bufferBytes), '', 'of the machine, from sockstat'),
          kernel.slabFault
            ? row('Kernel: structures', 'unknown', '', kernel.slabFault)
            : row('Kernel: structures', bytes(kernel.slabBytes), '', 'of the machine, from slabinfo'),
          row('Kernel, for a socket', bytes(memory.kernelPerSocketBytes), '', kernel.slabFault ? 'buffers only' : 'buffers and structures'),
        ]),
    ],
    log: [
      row('State', log.fault ? `can’t be written: ${log.fault}` : 'takes messages', log.fault ? 'bad' : ''),
      row('Size', bytes(log.bytes), '', `${count(log.segments)} ${log.segments === 1 ? 'file' : 'files'}, ${count(log.rooms)} rooms`),
      row('Commits', rate(rates.commits)),
      row('Queue', bytes(log.queueBytes), log.queueBytes > 8 << 20 ? 'wait' : ''),
      row('Damaged places', count(log.damagedPlaces), log.damagedPlaces > 0 ? 'bad' : ''),
      row('Retention', `${count(log.expiredRecords)} expired`, log.retentionFailures > 0 ? 'bad' : '', `${bytes(log.freedBytes)} given back, ${bytes(log.deadBytes)} not yet, ${count(log.retentionFailures)} failures`),
      shipping(ship),
    ],
  };
}

function shipping(ship) {
  if (!ship) return row('Shipped copy', 'off');
  if (ship.refused) return row('Shipped copy', 'refused: its place holds something else', 'bad');
  return row('Shipped copy', ship.behindSeconds < 1 ? 'has all' : `${duration(ship.behindSeconds)} behind`, ship.behindSeconds > 60 ? 'bad' : '', `${count(ship.errors)} errors`);
}

/** What was refused and why, the most frequent first. */
export function limits({ limits: { refused, errors, denied, closed } }) {
  const all = (kind, list) => list.map(({ name, count: n, perSecond = 0 }) => ({ key: `${kind} ${name}`, kind, name, count: n, perSecond }));
  return [...all('connection refused', refused), ...all('denied', denied), ...all('request error', errors), ...all('closed', closed)]
    .sort((a, b) => b.perSecond - a.perSecond || b.count - a.count);
}

/** The state of the server in a word, a tone for it, and a sentence if there is a reason. */
export function state({ server: { state: word, problem = '' } }) {
  const tones = { serving: 'good', starting: 'wait', draining: 'wait' };
  return { word, tone: tones[word] ?? 'bad', reason: word === 'in trouble' ? problem : '' };
}

/** What is said about a survey that is not whole. */
export function surveyNote({ survey }) {
  const notes = [];
  if (survey.answered < survey.loops) notes.push(`${survey.loops - survey.answered} of ${survey.loops} loops did not answer in time.`);
  if (survey.untallied > 0) notes.push(`${count(survey.untallied)} deliveries were in rooms beyond those that are counted.`);
  return notes.join(' ');
}
