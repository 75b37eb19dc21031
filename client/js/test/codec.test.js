import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { binary } from '../binary.js';
import { FrameError } from '../errors.js';
import { json } from '../json.js';

const golden = readFileSync(new URL('../../../proto/testdata/frames.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => {
    const [name, direction, hex, text] = line.split('\t');
    return { name, direction, bytes: Uint8Array.from(Buffer.from(hex, 'hex')), text };
  });

/** With its length before it, as in a WebSocket message. All golden vectors are shorter than 16 KiB. */
function delimited(bytes) {
  assert.ok(bytes.length < 1 << 14);
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length % 128) + 128, bytes.length >> 7];
  return Uint8Array.from([...length, ...bytes]);
}

/** The frame that a golden line describes, as an application would write it. */
function clientFrame(text) {
  const frame = JSON.parse(text);
  if (frame.publish?.data !== undefined) {
    frame.publish.data = Uint8Array.from(Buffer.from(frame.publish.data, 'base64'));
  }
  if (frame.history?.limit === 0) delete frame.history.limit;
  return frame;
}

test('there are golden vectors of both directions', () => {
  assert.ok(golden.filter((v) => v.direction === 'client').length >= 15);
  assert.ok(golden.filter((v) => v.direction === 'server').length >= 15);
});

for (const { name, direction, bytes, text } of golden) {
  if (direction === 'client') {
    test(`golden ${name}: encoded to the exact bytes`, () => {
      assert.deepEqual(binary.encode(clientFrame(text)), delimited(bytes));
      assert.equal(json.encode(clientFrame(text)), text);
    });
  } else {
    test(`golden ${name}: decoded alike from both codecs`, () => {
      const [fromBinary, ...none] = binary.decode(delimited(bytes).buffer);
      assert.deepEqual(none, []);
      const [fromJSON] = json.decode(text + '\n');
      assert.deepEqual(fromBinary, fromJSON);
      // And it says what the line says: everything in the line is in the frame.
      const plain = JSON.parse(JSON.stringify(fromBinary, (_, v) =>
        v instanceof Uint8Array ? Buffer.from(v).toString('base64') : v));
      assert.deepEqual({ id: 0, ...JSON.parse(text) }, plain);
    });

    test(`golden ${name}: cut anywhere it is an error, never another frame`, () => {
      const whole = delimited(bytes);
      for (let length = 1; length < whole.length; length++) {
        assert.throws(() => binary.decode(whole.slice(0, length).buffer), FrameError, `${length} bytes`);
      }
    });
  }
}

test('several frames in one message come in order', () => {
  const servers = golden.filter((v) => v.direction === 'server');
  const message = Uint8Array.from(servers.flatMap((v) => [...delimited(v.bytes)]));
  assert.deepEqual(binary.decode(message.buffer), json.decode(servers.map((v) => v.text).join('\n') + '\n'));
});

test('fields that are not known are skipped, whatever their type', () => {
  const known = [0x08, 0x05]; // id 5
  const unknown = [
    [0xf8, 0x07, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // field 127, the largest varint
    [0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8], // fixed64
    [0xfa, 0x07, 2, 0xaa, 0xbb], // bytes
    [0xfd, 0x07, 1, 2, 3, 4], // fixed32
  ];
  for (const field of unknown) {
    assert.deepEqual(binary.decode(delimited([...field, ...known]).buffer), [{ id: 5 }]);
    assert.throws(() => binary.decode(delimited([...known, ...field.slice(0, -1)]).buffer), FrameError);
  }
  assert.deepEqual(json.decode('{"id":5,"novelty":{"a":[1]}}'), [{ id: 5 }]);
});

test('an operation that is not known leaves a frame without one', () => {
  assert.deepEqual(binary.decode(delimited([0x92, 0x03, 0x02, 0x08, 0x01]).buffer), [{ id: 0 }]);
});

test('integers are exact up to 2^53-1 and refused above', () => {
  const at = (varint) => delimited([0x08, ...varint]).buffer;
  const largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
  assert.deepEqual(binary.decode(at(largest)), [{ id: Number.MAX_SAFE_INTEGER }]);
  assert.throws(() => binary.decode(at([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10])), FrameError);
  assert.throws(() => binary.decode(at([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])), FrameError);
  assert.deepEqual(json.decode('{"id":"9007199254740991"}'), [{ id: Number.MAX_SAFE_INTEGER }]);
  assert.throws(() => json.decode('{"id":9007199254740992}'), FrameError);
});

test('what is no frame is an error that says where', () => {
  const cases = [
    ['[]', /frame is not an object/],
    ['{"id":-1}', /frame\.id/],
    ['{"id":1.5}', /frame\.id/],
    ['{"message":{"seq":true}}', /frame\.message\.seq/],
    ['{"message":{"from":7}}', /frame\.message\.from/],
    ['{"message":{"data":"%"}}', /frame\.message\.data/],
    ['{"history":{"messages":{}}}', /frame\.history\.messages/],
    ['{"joined":{"recovered":"yes"}}', /frame\.joined\.recovered/],
    ['not json', /not JSON/],
  ];
  for (const [text, pattern] of cases) {
    assert.throws(() => json.decode(text), (error) => error instanceof FrameError && pattern.test(error.message), text);
  }
  assert.throws(() => binary.decode(delimited([0x0a, 0x01, 0x00]).buffer), FrameError, 'id as bytes');
  assert.throws(() => binary.decode(delimited([0x4a, 0x03, 0x0a, 0x01, 0xff]).buffer), FrameError, 'no UTF-8');
  assert.throws(() => binary.decode(delimited([0x0b]).buffer), FrameError, 'a group');
});

test('a message of the other kind is an error', () => {
  assert.throws(() => binary.decode('{"id":1}'), FrameError);
  assert.throws(() => json.decode(new ArrayBuffer(2)), FrameError);
});

test('half a surrogate pair is sent as the replacement character by both codecs', () => {
  const frame = { id: 1, publish: { room: 'r', key: 'k', text: 'a\ud83d!' } };
  assert.match(json.encode(frame), /"a\ufffd!"/);
  assert.ok(Buffer.from(binary.encode(frame)).includes(Buffer.from('a\ufffd!')));
});

test('a long text keeps its length', () => {
  const text = 'é'.repeat(70_000);
  const encoded = binary.encode({ id: 1, publish: { room: 'r', key: 'k', text } });
  assert.ok(Buffer.from(encoded).includes(Buffer.from(text)));
  // length 3 bytes; id 2; tag and length of publish 4; room 3; key 3; tag and length of text 4
  assert.equal(encoded.length, 3 + 2 + 4 + 3 + 3 + 4 + 140_000);
});
