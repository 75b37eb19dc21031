// The binary codec: Protocol Buffers by the tables of schema.js, each frame preceded by its
// length. Written by hand because the schema needs varints and length-delimited fields only,
// which is less than any library that would be loaded for it.

import { FrameError } from './errors.js';
import { clientFrame, serverFrame, emptyFrame } from './schema.js';

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export const binary = {
  name: 'binary',
  subprotocol: 'rookery.v1.proto',

  /** One client frame as the payload of one WebSocket message. */
  encode(frame) {
    return delimited(encodeFields(clientFrame, frame));
  },

  /** The server frames of one WebSocket message. */
  decode(data) {
    if (typeof data === 'string') {
      throw new FrameError('the server sent a text message on a binary connection');
    }
    const reader = new Reader(new Uint8Array(data));
    const frames = [];
    while (!reader.done) {
      frames.push(decodeFields(serverFrame, reader.nested()));
    }
    return frames;
  },
};

// Writing. A frame is built inside out: chunks of bytes are collected and joined once per
// message, since a length has to stand before what it measures.

function encodeFields(fields, values) {
  const out = [];
  for (const f of fields) {
    const value = values[f.name];
    if (value === undefined) continue;
    if (f.repeated) {
      for (const item of value) encodeField(out, f, item);
    } else if (f.present || !isZero(value)) {
      encodeField(out, f, value);
    }
  }
  return joined(out);
}

function isZero(value) {
  return value === 0 || value === false || value === '';
}

function encodeField(out, f, value) {
  if (f.type === 'uint' || f.type === 'bool') {
    out.push(varint(f.number * 8 + VARINT), varint(Number(value)));
    return;
  }
  out.push(varint(f.number * 8 + BYTES), delimited(payload(f, value)));
}

function payload(f, value) {
  switch (f.type) {
    case 'string':
      return utf8Encoder.encode(value);
    case 'bytes':
      return value;
    default:
      return encodeFields(f.fields, value);
  }
}

function delimited(bytes) {
  return joined([varint(bytes.length), bytes]);
}

function joined(chunks) {
  const out = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

/** Division instead of shifts: shifts cut numbers to 32 bits, sequence numbers have 53. */
function varint(value) {
  const out = [];
  while (value >= 128) {
    out.push((value % 128) + 128);
    value = Math.floor(value / 128);
  }
  out.push(value);
  return out;
}

// Reading.

function decodeFields(fields, reader) {
  const frame = emptyFrame(fields);
  while (!reader.done) {
    const tag = reader.uint();
    const wire = tag % 8;
    const f = fields.find((candidate) => candidate.number === Math.floor(tag / 8));
    if (f === undefined) {
      reader.skip(wire);
      continue;
    }
    const value = decodeValue(f, wire, reader);
    if (f.repeated) (frame[f.name] ??= []).push(value);
    else frame[f.name] = value;
  }
  return frame;
}

function decodeValue(f, wire, reader) {
  if (wire !== (f.type === 'uint' || f.type === 'bool' ? VARINT : BYTES)) {
    throw new FrameError(`field ${f.name} has wire type ${wire}`);
  }
  switch (f.type) {
    case 'uint':
      return reader.uint();
    case 'bool':
      return reader.uint() !== 0;
    case 'string':
      return reader.string();
    case 'bytes':
      return reader.bytes().slice();
    default:
      return decodeFields(f.fields, reader.nested());
  }
}

class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  get done() {
    return this.#at >= this.#bytes.length;
  }

  uint() {
    let value = 0;
    let scale = 1;
    for (let n = 0; n < 8; n++) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      scale *= 128;
    }
    throw new FrameError('an integer is larger than 2^53-1');
  }

  /** A view, valid as long as the message is. */
  bytes() {
    const length = this.uint();
    if (length > this.#bytes.length - this.#at) throw truncated();
    const view = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return view;
  }

  string() {
    try {
      return utf8Decoder.decode(this.bytes());
    } catch (error) {
      if (error instanceof FrameError) throw error;
      throw new FrameError('a string is not UTF-8');
    }
  }

  nested() {
    return new Reader(this.bytes());
  }

  skip(wire) {
    switch (wire) {
      case VARINT:
        while (this.#byte() >= 128);
        return;
      case FIXED64:
        this.#advance(8);
        return;
      case BYTES:
        this.bytes();
        return;
      case FIXED32:
        this.#advance(4);
        return;
      default:
        throw new FrameError(`a field has the unknown wire type ${wire}`);
    }
  }

  #byte() {
    if (this.done) throw truncated();
    return this.#bytes[this.#at++];
  }

  #advance(length) {
    if (length > this.#bytes.length - this.#at) throw truncated();
    this.#at += length;
  }
}

function truncated() {
  return new FrameError('the message ends in the middle of a frame');
}
