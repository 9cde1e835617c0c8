// Runs the HTTP cache test suite against a proxy, sorts the results as the suite's own site does, and compares them
// with what is expected.
//
//   node run.mjs SUITE PROXY-URL EXPECTED COLUMN
//
// EXPECTED lists the tests that do not pass, one to a line: its id, the outcome in each COLUMN, counted from 1 (`pass`
// where only the other one differs), and why. All that is not listed has to pass.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [suite, base, expectedFile, column] = process.argv.slice(2)
const load = (path, query = '') => import(pathToFileURL(resolve(suite, path)).href + query)
const optional = path => load(path).catch(() => ({}))

const groups = [...(await load('tests/index.mjs')).default]
// The npm release leaves this group to its command line.
const surrogate = (await optional('tests/surrogate-control.mjs')).default
if (surrogate && !groups.includes(surrogate)) groups.push(surrogate)
const { testResults } = await load('client/test.mjs')
const { determineTestResult } = await (async () => {
  const results = await optional('lib/results.mjs')
  return results.determineTestResult ? results : load('lib/display.mjs')
})()

const all = groups.flatMap(group => group.tests).filter(test => !test.browser_only)
const byId = new Map(all.map(test => [test.id, test]))

// Fifty at a time, as the suite's site does. The runner remembers what it ran, and tests write into their own
// configuration: so there is a new one, with a copy, each time.
let runs = 0
async function run (tests) {
  const { runTests } = await load('client/runner.mjs', `?${runs++}`)
  for (const { id } of tests) delete testResults[id]
  const copy = [{ name: 'all', id: 'all', tests: structuredClone(tests) }]
  // Newer editions take no implementation of fetch.
  const fetch = runTests.length > 3 ? [createRequire(resolve(suite, 'x'))('node-fetch')] : []
  await runTests(copy, ...fetch, false, base, 50)
}

const NAMES = {
  '✅': 'pass', Y: 'pass', '⛔️': 'fail', '⚠️': 'fail', N: 'fail', '🔹': 'setup', '⚪️': 'dependency', '⁉️': 'harness', '↻': 'retry', '-': 'untested'
}
const outcome = id => NAMES[determineTestResult(groups, id, testResults)[2]]

const expected = new Map()
for (const line of readFileSync(expectedFile, 'utf8').split('\n')) {
  if (line.trim() === '' || line.startsWith('#')) continue
  const [id, ...rest] = line.trim().split(/\s+/)
  if (!byId.has(id)) throw new Error(`${expectedFile} lists an unknown test: ${id}`)
  expected.set(id, rest[column - 1])
}
const surprising = () => all.filter(({ id }) => outcome(id) !== (expected.get(id) ?? 'pass'))

await run(all)
// A machine that stands still for a second makes what is fresh for two seconds stale: those get another go, by themselves.
for (let go = 0; go < 2 && surprising().length > 0; go++) {
  const again = new Set(surprising())
  for (const test of again) (test.depends_on ?? []).forEach(id => again.add(byId.get(id)))
  await run([...again])
}

const counts = kind => {
  const tests = all.filter(test => (test.kind ?? 'required') === kind)
  return `${tests.filter(({ id }) => outcome(id) === 'pass').length} of ${tests.length} ${kind}`
}
console.log(`${['required', 'optimal', 'check'].map(counts).join(', ')}`)
for (const { id, kind } of surprising()) {
  const [, why] = [].concat(testResults[id])
  console.log(`  ${id} (${kind ?? 'required'}): ${outcome(id)}, not ${expected.get(id) ?? 'pass'}: ${why ?? ''}`)
}
process.exit(surprising().length > 0 ? 1 : 0)
