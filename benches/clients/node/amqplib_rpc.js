#!/usr/bin/env node
"use strict";
// RPC by amqplib: many calls at once over one connection, each a promise by its correlation id.
//
//     node amqplib_rpc.js worker --in-flight 16 &
//     node amqplib_rpc.js requester --in-flight 16
//
// Says `ready` when connected. A requester then waits for a line on its standard input, makes calls
// for the warm-up and the measured time, and prints one line of JSON. A worker answers until
// SIGTERM.

const { parseArgs } = require("node:util");
const { once } = require("node:events");
const { randomUUID } = require("node:crypto");
const { performance } = require("node:perf_hooks");
const amqp = require("amqplib");

const DIRECT_REPLY_TO = "amq.rabbitmq.reply-to";
const BODY_LEN = 64;
// How long a call may take before it is lost.
const PATIENCE_MS = 5000;

/** Makes calls. Direct reply-to: the replies come to the channel that asks. */
class Client {
  constructor(queue) {
    this.queue = queue;
    this.waiting = new Map();
    this.foreign = 0;
  }

  async connect(url, noDelay) {
    this.connection = await amqp.connect(url, { noDelay });
    this.channel = await this.connection.createChannel();
    await this.channel.consume(DIRECT_REPLY_TO, (reply) => this.onReply(reply), { noAck: true });
    return this;
  }

  onReply(reply) {
    const settle = this.waiting.get(reply.properties.correlationId);
    if (settle === undefined) {
      this.foreign += 1;
      return;
    }
    this.waiting.delete(reply.properties.correlationId);
    settle(reply.content);
  }

  call(body) {
    const correlationId = randomUUID();
    return new Promise((settle) => {
      this.waiting.set(correlationId, settle);
      this.channel.sendToQueue(this.queue, body, { correlationId, replyTo: DIRECT_REPLY_TO });
    });
  }
}

/** Every call from its body to its end: returned once, corrupted, foreign or lost. */
class Tally {
  constructor(warmupMs, durationMs) {
    Object.assign(this, { issued: 0, returned: 0, corrupted: 0, samplesUs: [] });
    this.cpuAtStart = process.cpuUsage();
    this.measureFrom = performance.now() + warmupMs;
    this.end = this.measureFrom + durationMs;
    this.lastReturn = this.measureFrom;
  }

  isTimeLeft() {
    return performance.now() < this.end;
  }

  /** Different for each call; its worker answers in capitals. */
  nextText() {
    this.issued += 1;
    return `call ${this.issued} of ${process.pid} `.padEnd(BODY_LEN, "x");
  }

  countReply(started, text, reply) {
    const ended = performance.now();
    this.returned += 1;
    if (reply.toString() !== text.toUpperCase()) this.corrupted += 1;
    if (started >= this.measureFrom) {
      this.samplesUs.push((ended - started) * 1000);
      this.lastReturn = ended;
    }
  }

  report(foreign) {
    const sorted = Float64Array.from(this.samplesUs).sort();
    const percentile = (share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
    const seconds = (this.lastReturn - this.measureFrom) / 1000;
    const cpu = process.cpuUsage(this.cpuAtStart);
    const lost = this.issued - this.returned;
    return {
      calls: sorted.length,
      calls_with_warmup: this.returned,
      seconds,
      calls_per_s: seconds > 0 ? sorted.length / seconds : 0,
      p50_us: percentile(0.5),
      p90_us: percentile(0.9),
      p99_us: percentile(0.99),
      max_us: percentile(1),
      cpu_us_per_call: (cpu.user + cpu.system) / Math.max(1, this.returned),
      errors: { lost, corrupted: this.corrupted, foreign },
    };
  }
}

/** One of those in flight: call after call until the time is over. */
async function makeCalls(client, tally) {
  while (tally.isTimeLeft()) {
    const text = tally.nextText();
    const started = performance.now();
    const reply = await client.call(Buffer.from(text));
    tally.countReply(started, text, reply);
  }
}

async function request(options) {
  const client = await new Client(options.queue).connect(options.url, options["no-delay"]);
  console.log("ready");
  await once(process.stdin, "data");
  const [warmupMs, durationMs] = [options.warmup * 1000, options.duration * 1000];
  const tally = new Tally(warmupMs, durationMs);
  const callers = Array.from({ length: Number(options["in-flight"]) }, () =>
    makeCalls(client, tally),
  );
  let patience;
  const tooLong = new Promise((resolve) => {
    patience = setTimeout(resolve, warmupMs + durationMs + PATIENCE_MS);
  });
  await Promise.race([Promise.all(callers), tooLong]);
  clearTimeout(patience);
  const report = tally.report(client.foreign);
  await client.connection.close();
  process.stdin.destroy();
  console.log(JSON.stringify(report));
  process.exitCode = Object.values(report.errors).some((count) => count > 0) ? 1 : 0;
}

async function work(options) {
  const connection = await amqp.connect(options.url, { noDelay: options["no-delay"] });
  const channel = await connection.createChannel();
  await channel.assertQueue(options.queue, { durable: false, autoDelete: true });
  await channel.prefetch(Number(options["in-flight"]));
  await channel.consume(options.queue, (request) => {
    const { replyTo, correlationId } = request.properties;
    const reply = Buffer.from(request.content.toString().toUpperCase());
    channel.sendToQueue(replyTo, reply, { correlationId });
    channel.ack(request);
  });
  process.once("SIGTERM", () => connection.close());
  console.log("ready");
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: "string", default: "amqp://guest:guest@127.0.0.1:5672/%2f" },
      queue: { type: "string", default: "rpc.upper" },
      "in-flight": { type: "string", default: "1" },
      warmup: { type: "string", default: "0.3" },
      duration: { type: "string", default: "2" },
      // amqplib leaves Nagle's algorithm on unless told so.
      "no-delay": { type: "boolean", default: false },
    },
  });
  const roles = { requester: request, worker: work };
  const role = roles[positionals[0]];
  if (role === undefined) throw new Error("usage: amqplib_rpc.js requester|worker [options]");
  await role(values);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
