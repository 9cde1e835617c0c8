// Runs the HTTP cache test suite against a proxy, classifies the results like the suite's own site, and
// compares them with the expected results.
//
//   node run.mjs SUITE PROXY-URL EXPECTED COLUMN
//
// EXPECTED lists the tests that do not pass, one per line: the id, the outcome in each COLUMN (counted from
// 1; `pass` if only the other column differs), and the reason. All other tests have to pass.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [suite, base, expectedFile, column] = process.argv.slice(2)
const load = (path, query = '') => import(pathToFileURL(resolve(suite, path)).href + query)
const optional = path => load(path).catch(() => ({}))

const groups = [...(await load('tests/index.mjs')).default]
// The npm release adds this group only in its command-line tool.
const surrogate = (await optional('tests/surrogate-control.mjs')).default
if (surrogate && !groups.includes(surrogate)) groups.push(surrogate)
const { testResults } = await load('client/test.mjs')
const { determineTestResult } = await (async () => {
  const results = await optional('lib/results.mjs')
  return results.determineTestResult ? results : load('lib/display.mjs')
})()

const all = groups.flatMap(group => group.tests).filter(test => !test.browser_only)
const byId = new Map(all.map(test => [test.id, test]))

// Runs fifty tests at a time, like the suite's site. Each run loads a new runner, because a runner keeps the
// tests of earlier runs. Each run copies the tests, because a test modifies its configuration.
let runs = 0
async function run (tests) {
  const { runTests } = await load('client/runner.mjs', `?${runs++}`)
  for (const { id } of tests) delete testResults[id]
  const copy = [{ name: 'all', id: 'all', tests: structuredClone(tests) }]
  // Newer editions take no `fetch` argument.
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
// On a machine that stalls for a second, responses that are fresh for two seconds are stale too early.
// Tests with unexpected results, and the tests that they depend on, run up to two more times.
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
