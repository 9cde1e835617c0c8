// Fills the page with the numbers of stats.json, and sends its forms. Text from the server is set as text, never as HTML.
"use strict";

const POLL_MILLIS = 5000;

const byId = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const number = (value) => (value === null || value === undefined ? "unknown" : value.toLocaleString("en"));
const percent = (ratio) => (ratio === null ? "none yet" : `${(100 * ratio).toFixed(1)} %`);
const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);

function bytes(value) {
  if (value === null || value === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at ? value.toFixed(1) : value} ${units[at]}`;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function showRows(table, rows) {
  const lines = rows.map((cells) => {
    const line = element("tr");
    cells.forEach((cell) => {
      const shown = element("td", cell.text ?? cell, cell.className);
      if (cell.title) shown.title = cell.title;
      line.append(shown);
    });
    return line;
  });
  byId(table).tBodies[0].replaceChildren(...(lines.length ? lines : [element("tr")]));
  if (!lines.length) byId(table).tBodies[0].rows[0].append(element("td", "none", "muted"));
}

function showPairs(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function tile(layer) {
  const shown = element("div", undefined, "tile");
  const bar = element("div", undefined, "bar");
  const parts = [["hit", sum(layer.hits)], ["miss", sum(layer.misses)], ["pass", layer.bypasses + layer.writes + layer.refused]];
  for (const [name, count] of parts) {
    const part = element("span", undefined, name);
    part.style.flexGrow = count;
    bar.append(part);
  }
  shown.append(element("span", `Hit ratio of ${layer.name}`, "muted"), element("b", percent(layer.hit_ratio)));
  shown.append(element("span", `${number(sum(layer.hits))} hits, ${number(sum(layer.misses))} misses`, "muted"), bar);
  return shown;
}

// Adds the counts of all layers by the word of their reason.
function reasons(layers, name) {
  const all = new Map();
  for (const { detail, count, meaning } of layers.flatMap((layer) => layer[name])) {
    all.set(detail, { detail, meaning, count: count + (all.get(detail)?.count ?? 0) });
  }
  const rows = [...all.values()].sort((a, b) => b.count - a.count);
  return rows.map(({ detail, count, meaning }) => [{ text: detail, title: meaning }, number(count)]);
}

function showStats(stats) {
  byId("namespace").textContent = stats.namespace;
  byId("updated").textContent = new Date().toLocaleTimeString("en-GB");
  byId("state").textContent = stats.enabled ? "The cache is on." : "The cache is off.";
  byId("state").className = stats.enabled ? "" : "off";
  byId("switch").textContent = stats.enabled ? "Turn it off" : "Turn it on";
  byId("switch").dataset.enabled = String(!stats.enabled);
  byId("switch").disabled = false;
  const since = stats.period.since === "creation" ? ", since the inspector was created" : "";
  byId("period").textContent = `in the last ${duration(stats.period.seconds)}${since}`;
  byId("ratios").replaceChildren(...stats.period.layers.map(tile));
  showRows("requests", stats.period.layers.map((layer) => [
    layer.name, percent(layer.hit_ratio), number(layer.requests), number(layer.hits.fresh), number(layer.hits.stale),
    number(layer.hits.collapsed),
    { text: number(sum(layer.misses)), title: Object.entries(layer.misses).map((pair) => pair.join(": ")).join(", ") },
    number(layer.bypasses), number(layer.writes), number(layer.refused),
  ]));
  showRows("not-stored", reasons(stats.totals, "not_stored"));
  showRows("bypassed", reasons(stats.totals, "bypasses_by_detail"));
  byId("no-paths").hidden = stats.paths !== null;
  byId("paths").hidden = stats.paths === null;
  showRows("paths", (stats.paths ?? []).map((path) => [
    { text: path.path, className: "path" }, number(path.misses), number(path.forwarded), number(path.estimated_hits),
    duration(path.handler_seconds),
  ]));
  const { store, work, invalidations } = stats;
  showPairs(byId("store"), [
    ["Entries", number(store.entries)],
    ["Memory", bytes(store.bytes)],
    ["Evictions", number(store.evictions)],
    ["Expired entries removed", number(store.expirations)],
    ["Store errors", number(sum(store.errors))],
    ["Circuit breaker", store.circuit],
    ["Undelivered invalidations", number(store.undelivered)],
    ["Invalidations", `${number(invalidations.total)}, ${number(invalidations.failed)} failed`],
    ["Flights", `${number(work.flights)}, with ${number(work.followers)} followers`],
    ["Recordings", `${number(work.recordings)}, with ${bytes(work.recording_bytes)}`],
    ["Background refreshes", `${number(work.refreshes.running)} running, ${number(work.refreshes.succeeded)} succeeded, ${number(work.refreshes.failed)} failed`],
    ["Stored responses", number(stats.totals.reduce((all, layer) => all + layer.stored, 0))],
    ["Handler time saved", duration(stats.totals.reduce((all, layer) => all + layer.handler_seconds_saved, 0))],
    ["Bytes served by hits", bytes(stats.totals.reduce((all, layer) => all + layer.bytes_served, 0))],
  ]);
}

async function getJson(address, options) {
  const response = await fetch(address, { cache: "no-store", ...options });
  if (!response.headers.get("content-type")?.startsWith("application/json")) throw new Error(`status ${response.status}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `status ${response.status}`);
  return answer;
}

async function post(address, fields) {
  const { token } = await getJson("token.json");
  return getJson(address, { method: "POST", headers: { "x-inspector-token": token }, body: new URLSearchParams(fields) });
}

async function update() {
  try {
    showStats(await getJson("stats.json"));
    byId("problem").hidden = true;
  } catch (error) {
    byId("problem").textContent = `The numbers cannot be read: ${error.message}.`;
    byId("problem").hidden = false;
  }
}

function confirmed(question) {
  const dialog = byId("confirm");
  byId("question").textContent = question;
  dialog.showModal();
  // The event `close` comes later, perhaps when the next question is already open.
  return new Promise((resolve) => {
    dialog.querySelector("form").onsubmit = (event) => resolve(event.submitter?.value === "yes");
    dialog.oncancel = () => resolve(false);
  });
}

function showResult(text, isError) {
  byId("result").textContent = text;
  byId("result").className = isError ? "error" : "";
  byId("result").hidden = false;
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    showResult(`Failed: ${error.message}.`, true);
  }
}

function inputValue({ value, is_digest }) {
  if (value === null) return "absent";
  return is_digest ? `digest ${value}` : value;
}

function storedText({ status, age, ttl, body_bytes, weight }) {
  const lifetime = ttl === null ? "never stale" : ttl < 0 ? `stale for ${duration(-ttl)}` : `fresh for ${duration(ttl)}`;
  return `status ${status}, age ${duration(age)}, ${lifetime}, ${bytes(body_bytes)} of body, ${bytes(weight)} of memory`;
}

function explanationOf(layer) {
  const shown = element("div", undefined, "layer");
  shown.append(element("h3", `${layer.layer}: ${layer.is_hit ? "hit" : "no hit"}`));
  const guide = element("a", "guide");
  guide.href = layer.guide;
  guide.rel = "noreferrer";
  const meaning = element("p", `${layer.meaning} `);
  meaning.append(guide);
  const pairs = [["Cache-Status", layer.status]];
  if (layer.policy_entry !== null) pairs.push(["Entry of the policy table", layer.policy_entry]);
  if (layer.identified_by.length) pairs.push(["Identified by", layer.identified_by.join(", ")]);
  for (const input of layer.key) pairs.push([`Key: ${input.name}`, inputValue(input)]);
  if (layer.key_digest !== null) pairs.push(["Digest of the key", layer.key_digest]);
  pairs.push(["Stored response", layer.stored ? storedText(layer.stored) : "none for this request"]);
  const by = layer.variant_fields.length ? `, selected by ${layer.variant_fields.join(", ")}` : "";
  pairs.push(["Variants", `${number(layer.variants)}${by}`]);
  for (const { stored, selected_by } of layer.variant_fields.length ? layer.stored_variants : []) {
    const values = selected_by.map((input) => `${input.name.replace("header ", "")}: ${inputValue(input)}`);
    pairs.push([`Variant: ${values.join(", ") || "any"}`, storedText(stored)]);
  }
  if (layer.last_not_stored) pairs.push(["Last response not stored", `${layer.last_not_stored.detail}: ${layer.last_not_stored.meaning}`]);
  if (layer.is_hit_for_miss) pairs.push(["Hit-for-miss", "requests do not collapse now"]);
  if (layer.unknown_inputs.length) pairs.push(["Unknown", layer.unknown_inputs.join(", ")]);
  const list = element("dl");
  showPairs(list, pairs);
  shown.append(meaning, list);
  return shown;
}

async function explain() {
  const form = new FormData(byId("explain"));
  const fields = [["url", form.get("url")], ["method", form.get("method") || "GET"]];
  const lines = form.get("headers").split(/\r?\n/).filter((line) => line.trim());
  const answer = await post("explain.json", fields.concat(lines.map((line) => ["header", line])));
  const head = element("h2", `${answer.method} ${answer.uri}`);
  const fieldNames = element("p", `Header fields: ${answer.fields.join(", ") || "none"}`, "muted");
  const none = answer.layers.length ? [] : [element("p", "No layer over this cache exists in this namespace.")];
  byId("explanation").replaceChildren(head, fieldNames, ...none, ...answer.layers.map(explanationOf));
  byId("result").hidden = true;
}

async function purge(kind, target, isSoft) {
  if (!(await confirmed(`Purge the ${kind} ${target}?`))) return;
  const { delivery } = await post("purge", [[kind, target]].concat(isSoft ? [["soft", "true"]] : []));
  showResult(delivery === "delivered" ? `Purged: ${kind} ${target}.` : `The store failed. The purge of ${target} is queued.`);
  await update();
}

byId("explain").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(explain);
});

byId("purge-url").addEventListener("click", () => {
  const target = byId("explain").elements.url.value.trim();
  if (target) attempt(() => purge("path", target, false));
});

byId("purge").addEventListener("submit", (event) => {
  event.preventDefault();
  const { kind, target, soft } = event.target.elements;
  attempt(() => purge(kind.value, target.value.trim(), soft.checked));
});

byId("switch").addEventListener("click", () => attempt(async () => {
  const enabled = byId("switch").dataset.enabled;
  const question = enabled === "true" ? "Turn the cache on?" : "Turn the cache off? Every request then reaches the service.";
  if (!(await confirmed(question))) return;
  await post("enabled", [["enabled", enabled]]);
  await update();
}));

async function poll() {
  if (!document.hidden) await update();
  setTimeout(poll, POLL_MILLIS);
}

document.addEventListener("visibilitychange", () => document.hidden || update());
poll();
