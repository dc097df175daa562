#!/usr/bin/env node
// Adds up an order, with prices that it asks a service for: most of the time it waits. So it takes many events at a time,
// in one process, with nothing but Node.js 18 or later. On a laptop, ten events at a time:
//
//     bootstrap invoke --concurrency 10 --events orders.jsonl -- examples/node-concurrent/prices.mjs
//
// where each line of orders.jsonl is an order: {"lines":[{"sku":"tea","quantity":2}]}
//
// bootstrap starts this program once and writes each event to its stdin as one line; a reply is a line with the same id,
// in whatever order they get ready:
//
//     {"id":"…","context":{…},"event":{…}}
//     {"id":"…","response":{…}}     or     {"id":"…","error":{"errorType":"…","errorMessage":"…","stackTrace":["…"]}}
//
// For a function of your own, change `handle` and keep the rest.

import { AsyncLocalStorage } from 'node:async_hooks';
import { Console } from 'node:console';
import { writeSync } from 'node:fs';
import { format } from 'node:util';

// How many events this process takes at a time. It gets fewer where the function's own concurrency is lower.
const CONCURRENCY = 64;

// Where a price is asked for. As it is, this is no service: a URL that holds its own answer.
const PRICE_URL = process.env.PRICE_URL ?? 'data:application/json,{"cents":350}';

// ---- The function

class InvalidOrder extends Error {
  name = 'InvalidOrder';
}

async function handle(event, context, signal) {
  if (!Array.isArray(event?.lines)) throw new InvalidOrder('lines must be a list');
  const amounts = await Promise.all(event.lines.map(async (line, index) => {
    if (typeof line?.sku !== 'string') throw new InvalidOrder(`line ${index + 1}: sku must be a text`);
    if (!Number.isInteger(line.quantity) || line.quantity < 1) {
      throw new InvalidOrder(`line ${index + 1}: quantity must be a whole number from 1 up`);
    }
    return line.quantity * await priceOf(line.sku, signal);
  }));
  const total = amounts.reduce((sum, amount) => sum + amount, 0);
  console.log('an order of %d lines for %d cents', amounts.length, total);
  return { total };
}

async function priceOf(sku, signal) {
  const answer = await fetch(PRICE_URL.replace('SKU', encodeURIComponent(sku)), { signal });
  if (!answer.ok) throw new Error(`no price for ${sku}: the service says ${answer.status}`);
  const { cents } = await answer.json();
  if (!Number.isInteger(cents)) throw new Error(`no price for ${sku}: the service gives no number`);
  return cents;
}

// ---- Logs

// Everything that is printed with console goes to stderr, so that it is a log line and never taken for a reply. Several
// events share the log: each line begins with the id of the one that it is about.
globalThis.console = new Console(process.stderr, process.stderr);
const current = new AsyncLocalStorage();
for (const level of ['debug', 'error', 'info', 'log', 'warn']) {
  console[level] = (...what) => process.stderr.write(`${current.getStore() ?? 'no event'}: ${format(...what)}\n`);
}

// ---- The protocol

// Replies have a descriptor of their own, apart from what a library may write to stdout. A pipe may take a part at a time.
const replies = Number(process.env.BOOTSTRAP_REPLY_FD ?? 1);
function write(line) {
  let bytes = Buffer.from(line + '\n');
  while (bytes.length > 0) bytes = bytes.subarray(writeSync(replies, bytes));
}

// The events in flight: from their ids to what cancels them.
const inFlight = new Map();

async function answer(id, line) {
  const controller = new AbortController();
  inFlight.set(id, controller);
  try {
    const message = JSON.parse(line);
    if ('eventBase64' in message) throw new SyntaxError('the event is not JSON');
    if (!('event' in message)) return; // it asks for nothing
    const response = await handle(message.event, message.context, controller.signal);
    // What JSON has no word for, undefined above all, is null.
    write(`{"id":"${id}","response":${JSON.stringify(response) ?? 'null'}}`);
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const [, ...stackTrace] = String(error.stack).split('\n');
    const errorMessage = error.cause ? `${error.message}: ${error.cause.message ?? error.cause}` : `${error.message}`;
    write(JSON.stringify({ id, error: { errorType: String(error.name), errorMessage, stackTrace } }));
  } finally {
    inFlight.delete(id);
  }
}

// The messages. Not with node:readline: it splits at U+2028 and at U+2029 too, which may stand in a JSON string.
async function* lines(stream) {
  let parts = [];
  for await (let chunk of stream) {
    for (let end; (end = chunk.indexOf('\n')) >= 0; chunk = chunk.subarray(end + 1)) {
      yield Buffer.concat([...parts, chunk.subarray(0, end)]).toString();
      parts = [];
    }
    parts.push(chunk);
  }
  yield Buffer.concat(parts).toString();
}

// When it ends, bootstrap closes stdin and sends SIGTERM. The end of stdin is enough: what is in flight may still be
// answered, then nothing is left to do, and Node.js ends. A second SIGTERM ends it at once.
process.once('SIGTERM', () => {});

// Said before the first event. Without it, bootstrap hands out one event at a time.
write(JSON.stringify({ ready: true, concurrency: CONCURRENCY, cancel: true }));

for await (const line of lines(process.stdin)) {
  // The id is the message's first member, known even where the rest can't be parsed.
  const id = /^\s*\{"id":"([^"]*)","/.exec(line)?.[1];
  if (id !== undefined) {
    current.run(id, () => answer(id, line));
  } else if (line.includes('"cancel"')) {
    // The event's time is up, and its caller has been told so. A reply is still owed: it is dropped, but it says that
    // there is room for another event.
    const { cancel, reason } = JSON.parse(line);
    inFlight.get(cancel)?.abort(new Error(`cancelled: ${reason}`));
  }
}
