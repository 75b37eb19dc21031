// Shows the frames of one user while somebody looks. There is one trace at a time on a page; leaving the page ends it.

import { byId } from '../page/app/elements.js';
import { Refusal, segment } from './actions.js';
import { visible } from './names.js';
import { Table } from './tables.js';
import { TraceLog, follow } from './trace.js';
import { clock } from './units.js';

export class TraceView {
  /** Is told why the server does not trace. */
  refused = () => {};
  #api;
  #log = new TraceLog();
  #rows = new Table(byId('trace-rows'), ({ at, direction, what, room, detail }) => [at ? clock(at) : '', direction, what, room, detail]);
  #ending = null;
  #drawing = false;

  constructor(api) {
    this.#api = api;
    byId('trace-stop').addEventListener('click', () => this.#stop());
    byId('trace-clear').addEventListener('click', () => {
      this.#log.clear();
      this.#draw();
    });
  }

  async start(user) {
    this.#stop();
    const ending = (this.#ending = new AbortController());
    try {
      const response = await this.#api.ask('GET', `/v1/users/${segment(user)}/trace`, undefined, ending);
      this.#log.clear();
      byId('trace').hidden = false;
      byId('trace-title').textContent = `What “${visible(user)}” does`;
      byId('trace-stop').hidden = false;
      await follow(response, (line) => {
        this.#log.add(line);
        this.#draw();
      });
    } catch (error) {
      if (!ending.signal.aborted) this.refused(error instanceof Refusal ? error.message : 'The trace has ended: the connection to the server is gone.');
    }
    if (this.#ending === ending) this.#stop();
  }

  #stop() {
    this.#ending?.abort();
    this.#ending = null;
    byId('trace-stop').hidden = true;
  }

  /** Draws at the next frame of the screen: lines come faster than anybody reads. */
  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      const scroller = byId('trace-scroll');
      const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
      this.#rows.show(this.#log.rows);
      if (atEnd) scroller.scrollTop = scroller.scrollHeight;
    });
  }
}
