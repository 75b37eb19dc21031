// What there is on the page, and who updates it.

import { byId, element } from '../page/app/elements.js';
import { ActionsView } from './actions-view.js';
import { Api } from './actions.js';
import { groups, limits, state, surveyNote } from './figures.js';
import { Looks } from './looks.js';
import { visible } from './names.js';
import { Table } from './tables.js';
import { TraceView } from './trace-view.js';
import { bytes, count, duration, rate, sparkline } from './units.js';

/** How many looks a line shows: two minutes. */
const LINE = 120;

const api = new Api((...request) => fetch(...request));
const trace = new TraceView(api);
const actions = new ActionsView(api, trace);

const named = (user) => element('button', { class: 'name', type: 'button', onclick: () => actions.choose(user) }, visible(user));
const behind = new Table(byId('behind'), ({ user, waiting, stalled, rooms, protocol, session }) => [named(user), waiting, stalled, rooms, protocol, session]);
const limit = new Table(byId('limits'), ({ kind, name, perSecond, count: n }) => [kind, name, rate(perSecond), count(n)]);
const largest = new Table(byId('largest'), ({ key, count: n }) => [visible(key), n]);
const busiest = new Table(byId('busiest'), ({ key, count: n }) => [visible(key), n]);

const lines = { connections: [], deliveries: [], latency: [], memory: [] };

function show(look) {
  byId('board').dataset.live = 'true';
  const { word, tone, reason } = state(look);
  text(byId('state'), word);
  byId('state').dataset.tone = tone;
  text(byId('reason'), reason);
  byId('reason').hidden = reason === '';
  const { version, uptimeSeconds, development } = look.server;
  text(byId('server'), `${version} · up ${duration(uptimeSeconds)}${development ? ' · development mode' : ''}`);

  for (const [id, rows] of Object.entries(groups(look))) figures(byId(id), rows);
  line('connections', look.connections.open);
  line('deliveries', look.rates.deliveries);
  line('latency', look.publish.p99);
  line('memory', look.memory.residentBytes);

  table('limits', limit, limits(look), 'limits-scroll');
  const { survey } = look;
  table('behind', behind, survey.behind.map(({ user, session, protocol, waitingBytes, stalledSeconds, roomsBehind }) => ({
    key: session, user, session, protocol, waiting: bytes(waitingBytes), stalled: duration(stalledSeconds), rooms: count(roomsBehind),
  })), 'behind-scroll');
  const rooms = (list) => list.map(({ room, count: n }) => ({ key: room, count: count(n) }));
  table('largest', largest, rooms(survey.largest), 'largest-table');
  table('busiest', busiest, survey.busiest.map(({ room, count: n }) => ({ key: room, count: rate(n / Math.max(survey.seconds, 1e-3)) })), 'busiest-table');
  text(byId('survey-note'), surveyNote(look));
}

function table(id, rows, list, frame) {
  rows.show(list);
  byId(frame).hidden = list.length === 0;
  byId(`${id}-empty`).hidden = list.length > 0;
}

/** Shows rows in a list of definitions, changing only what is another. */
function figures(list, rows) {
  rows.forEach(({ name, value, tone, hint }, i) => {
    let line = list.children[i];
    if (!line) {
      line = element('div', {}, element('dt'), element('dd'), element('dd', { class: 'hint' }));
      list.append(line);
    }
    line.dataset.tone = tone;
    const [term, figure, more] = line.children;
    text(term, name);
    text(figure, value);
    text(more, hint);
    more.hidden = hint === '';
  });
  while (list.children.length > rows.length) list.lastElementChild.remove();
}

function line(name, value) {
  const values = lines[name];
  values.push(value);
  if (values.length > LINE) values.shift();
  byId(`spark-${name}`).setAttribute('points', sparkline(values, 240, 40, LINE));
}

function text(where, words) {
  if (where.textContent !== words) where.textContent = words;
}

function lost() {
  byId('board').dataset.live = 'false';
  text(byId('state'), 'no answer');
  byId('state').dataset.tone = 'bad';
}

byId('settings').addEventListener('toggle', async ({ target }) => {
  if (!target.open) return;
  try {
    const response = await fetch('/ops/settings', { cache: 'no-store' });
    text(byId('settings-text'), await response.text());
  } catch {
    text(byId('settings-text'), 'The server did not answer.');
  }
});

new Looks(() => new EventSource('/ops/looks'), { look: show, lost }).start();
