// Runs amqplib's own tests against a broker that is not on port 5672.
//
//     node amqplib.mjs FILE...
//
// LEVERET_PORT and LEVERET_PORT_V6 are the broker's; see port.cjs. The last line counts as those of
// the other suites do. Nothing is excluded but the one test that needs ::1, where the machine has none.
import path from 'node:path';
import { run } from 'node:test';

// The tests allow themselves a second each, which a busy machine may need for less.
const TIMEOUT_MS = 20_000;

const counts = { passed: 0, failed: 0, skipped: 0 };
const files = process.argv.slice(2).map((file) => path.resolve(file));
// A helper of the tests that waits for a message goes on for ever once a test has fetched the message
// before the helper looked, which a busy machine lets happen; the file would not end.
const options = { files, concurrency: 1, timeout: TIMEOUT_MS, forceExit: true };
for await (const { type, data } of run(options)) {
  if (type !== 'test:pass' && type !== 'test:fail') continue;
  // A suite is counted by its tests; a file is a test of no nesting whose name is its path.
  const grouping = data.details?.type === 'suite' || files.some((file) => file.endsWith(data.name));
  if (type === 'test:fail' && data.name === 'ipv6' && !process.env.LEVERET_PORT_V6) {
    counts.skipped += 1;
  } else if (type === 'test:fail' && !(grouping && data.details.error?.failureType === 'subtestsFailed')) {
    counts.failed += 1;
    console.log(`FAILED ${data.name}`, data.details.error);
  } else if (!grouping) {
    counts[data.skip !== undefined || data.todo !== undefined ? 'skipped' : 'passed'] += 1;
  }
}
console.log(
  `interop: amqplib: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`,
);
process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
