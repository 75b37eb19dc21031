// The built binary as a process of its own, on ports and data of its own, which a test may
// kill and start again.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { tellOfFailure } from './failure.js';

const binary = process.env.ROOKERY_BIN ?? fileURLToPath(new URL('../../bin/rookery', import.meta.url));
const START_MS = 60_000;
const POLL_MS = 25;

/** Ports that the kernel gives to no connection, for whoever tries to reach a server that is down might be given its port; and none of Go's tests. */
const [FIRST_PORT, END_PORT] = JSON.parse(readFileSync(new URL('../../internal/porttest/ranges.json', import.meta.url))).browser;
/** So many a process has for itself. */
const PORTS = 100;

export class Server {
  #process = null;
  #flags;
  #log = '';

  constructor(port, adminPort, data, flags) {
    this.port = port;
    this.adminPort = adminPort;
    this.data = data;
    this.address = `http://127.0.0.1:${port}`;
    this.#flags = flags;
    this.socketAddress = `ws://127.0.0.1:${port}/ws`;
  }

  /** Whether one of this file's servers was ended: what was on its way then is no fault of a page. */
  static ended = false;

  /** Starts a server for one test, which ends it; flags are added to those of serve. One may be a function of the server. */
  static async start(t, ...flags) {
    const data = await mkdtemp(join(tmpdir(), 'rookery-e2e-'));
    const server = new Server(await freePort(), await freePort(), data, flags);
    tellOfFailure(() => `the last of the log of the server at ${server.address}:\n${server.#log}`);
    t.after(async () => {
      await server.kill();
      await rm(data, { recursive: true, force: true });
    });
    await server.start();
    return server;
  }

  /** Starts the binary on the same ports and data, with other flags if there are any, and waits until it takes connections. */
  async start(...flags) {
    if (flags.length > 0) this.#flags = flags;
    const args = ['serve', '--dev', '--listen', `127.0.0.1:${this.port}`, '--admin', `127.0.0.1:${this.adminPort}`, '--data', this.data,
      ...this.#flags.map((flag) => (typeof flag === 'function' ? flag(this) : flag))];
    const started = (this.#process = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] }));
    started.stderr.on('data', (text) => (this.#log = (this.#log + text).slice(-10_000)));
    const failed = new Promise((_, reject) => {
      started.once('error', (error) => reject(new Error(`${binary} cannot be run (build it, or set ROOKERY_BIN): ${error.message}`)));
      started.once('exit', (code, signal) => reject(new Error(`the server ended with ${code ?? signal} while starting:\n${this.#log}`)));
    });
    failed.catch(() => {}); // it also ends later, when it is killed
    await Promise.race([this.#ready(), failed]);
  }

  /** SIGKILL: no goodbye, nothing flushed. */
  async kill() {
    await this.#end('SIGKILL');
  }

  /** SIGTERM: drains; answers the exit status. */
  async stop() {
    return this.#end('SIGTERM');
  }

  async #end(signal) {
    const ending = this.#process;
    if (ending === null) return null;
    this.#process = null;
    Server.ended = true;
    if (ending.exitCode === null && ending.signalCode === null) {
      const exit = once(ending, 'exit');
      ending.kill(signal);
      await exit;
    }
    return ending.exitCode;
  }

  async #ready() {
    const end = Date.now() + START_MS;
    while (Date.now() < end) {
      try {
        const response = await fetch(`http://127.0.0.1:${this.adminPort}/readyz`);
        if (response.ok) return;
      } catch {
        // Not listening yet.
      }
      await pause(POLL_MS);
    }
    throw new Error(`the server was not ready within ${START_MS} ms:\n${this.#log}`);
  }
}

let ports;

/** A port that nobody else takes, also while a server is down that was there: two servers may listen at one, and share who comes. */
async function freePort() {
  ports ??= ownPorts();
  const own = await ports;
  for (;;) {
    const port = own.shift();
    if (port === undefined) throw new Error(`a file of tests may start ${PORTS / 2} servers`);
    const probe = await listening(port);
    if (probe === null) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
}

/** The ports of this process: it holds the first one as long as it lives, so that another, which runs beside it, takes others. */
async function ownPorts() {
  for (let first = FIRST_PORT; first + PORTS <= END_PORT; first += PORTS) {
    const held = await listening(first);
    if (held === null) continue;
    held.unref();
    return Array.from({ length: PORTS - 1 }, (_, i) => first + 1 + i);
  }
  throw new Error(`no ${PORTS} ports in a row are free from ${FIRST_PORT} to ${END_PORT - 1}: end what listens there`);
}

/** null: the port is taken. */
async function listening(port) {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
    return server;
  } catch {
    return null;
  }
}
