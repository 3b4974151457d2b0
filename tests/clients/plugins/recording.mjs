// A reporter for node's test runner: writes what became of each test to a file, a test a line. A
// test's name is its file's, then those of the blocks around it, then its own.

import fs from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';

const MESSAGE_LEN_MAX = 4000;
const LINES = process.env.SUITE_LINES;

export default async function* record(source) {
  const around = [];
  for await (const { type, data } of source) {
    if (type === 'test:start') {
      around.length = data.nesting;
      around.push(data.name);
      continue;
    }
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const isFile = data.file === undefined || data.name === data.file;
    const didFail = type === 'test:fail';
    const cause = data.details?.error?.cause ?? data.details?.error;
    // A block fails with what it holds; only what else fails in it (a hook) would be lost.
    const isEcho = data.details?.error?.failureType === 'subtestsFailed';
    if (data.details?.type === 'suite' || isFile ? !didFail || isEcho : false) continue;
    const names = [...around.slice(0, data.nesting), data.name];
    const test = [path.basename(data.file ?? ''), ...names].join(' > ');
    const result = data.skip !== undefined || data.todo !== undefined ? 'skipped'
      : didFail ? 'failed' : 'passed';
    const message = didFail ? inspect(cause).slice(0, MESSAGE_LEN_MAX) : String(data.skip ?? '');
    fs.appendFileSync(LINES, `${JSON.stringify({ test, result, message })}\n`);
    if (didFail) yield `failed: ${test}\n${message}\n`;
  }
}
