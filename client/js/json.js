// The JSON codec: the same frames as text, one a line. Readable in a browser's console, at
// about twice the bytes.

import { FrameError } from './errors.js';
import { clientFrame, serverFrame, emptyFrame } from './schema.js';

export const json = {
  name: 'json',
  subprotocol: 'rookery.v1.json',

  /** One client frame as the payload of one WebSocket message. */
  encode(frame) {
    const text = JSON.stringify(toPlain(clientFrame, frame));
    // Tools that read us line by line may take these three for line ends or controls.
    return text.replace(/[\u007f\u2028\u2029]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
  },

  /** The server frames of one WebSocket message. */
  decode(data) {
    if (typeof data !== 'string') {
      throw new FrameError('the server sent a binary message on a JSON connection');
    }
    return data.split('\n').filter((line) => line !== '').map(decodeLine);
  },
};

function decodeLine(line) {
  let plain;
  try {
    plain = JSON.parse(line);
  } catch (error) {
    throw new FrameError(`a line is not JSON: ${error.message}`);
  }
  return fromPlain(serverFrame, plain, 'frame');
}

function toPlain(fields, values) {
  const plain = {};
  for (const f of fields) {
    const value = values[f.name];
    if (value === undefined) {
      // As the server writes it: a number that is zero is written, the id is not.
      if (f.type === 'uint' && !f.present && f.name !== 'id') plain[f.name] = 0;
    } else if (f.repeated) {
      if (value.length > 0) plain[f.name] = value.map((item) => toPlainValue(f, item));
    } else if (f.present || value !== '') {
      plain[f.name] = toPlainValue(f, value);
    }
  }
  return plain;
}

function toPlainValue(f, value) {
  switch (f.type) {
    case 'string':
      // Half a surrogate pair has no UTF-8; the server would end the connection over it.
      return value.replace(/\p{Surrogate}/gu, '\ufffd');
    case 'bytes':
      return toBase64(value);
    case 'message':
      return toPlain(f.fields, value);
    default:
      return value;
  }
}

function fromPlain(fields, plain, where) {
  if (plain === null || typeof plain !== 'object' || Array.isArray(plain)) {
    throw new FrameError(`${where} is not an object`);
  }
  const values = emptyFrame(fields);
  for (const f of fields) {
    const value = plain[f.name];
    if (value === undefined || value === null) continue;
    const at = `${where}.${f.name}`;
    if (f.repeated) {
      if (!Array.isArray(value)) throw new FrameError(`${at} is not a list`);
      values[f.name] = value.map((item) => fromPlainValue(f, item, at));
    } else {
      values[f.name] = fromPlainValue(f, value, at);
    }
  }
  return values;
}

function fromPlainValue(f, value, at) {
  switch (f.type) {
    case 'uint': {
      // The canonical JSON of Protocol Buffers has 64-bit integers as strings.
      const number = typeof value === 'string' && value !== '' ? Number(value) : value;
      if (!Number.isSafeInteger(number) || number < 0) {
        throw new FrameError(`${at} is not an integer from 0 to 2^53-1`);
      }
      return number;
    }
    case 'bool':
    case 'string':
      if (typeof value !== (f.type === 'bool' ? 'boolean' : 'string')) {
        throw new FrameError(`${at} is not a ${f.type}`);
      }
      return value;
    case 'bytes':
      return fromBase64(value, at);
    default:
      return fromPlain(f.fields, value, at);
  }
}

// btoa and atob speak strings of bytes; they are the one base64 that browsers and Node share.

function toBase64(bytes) {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text, at) {
  let decoded;
  try {
    decoded = atob(text);
  } catch {
    throw new FrameError(`${at} is not base64`);
  }
  return Uint8Array.from(decoded, (c) => c.charCodeAt(0));
}
