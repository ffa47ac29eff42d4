"use strict";
const at = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
document.documentElement.dataset.theme = localStorage.getItem("theme") || (dark.matches ? "dark" : "light");
let oldest = null;  // number of the oldest record on the page

/* The page may be opened with a key that opens the chat only: it asks for another, and keeps both apart. */
async function read(path) {
  let tried = false;
  for (;;) {
    const key = sessionStorage.getItem("audit-key") || sessionStorage.getItem("key");
    const response = await fetch(path, key ? { headers: { Authorization: `Bearer ${key}` } } : {});
    if (response.status !== 401 && response.status !== 403) return answer(response);
    if (tried) at("door-title").textContent = "This key does not open the record.";
    tried = true;
    await askKey();
  }
}
async function answer(response) {
  const document = await response.json();
  if (!response.ok) throw new Error(document.error.message);
  return document;
}
function askKey() {
  at("key").value = "";
  at("door").showModal();
  return new Promise((resolve) => {
    at("door-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem("audit-key", at("key").value.trim());
      at("door").close();
      resolve();
    };
  });
}
at("door").addEventListener("cancel", (event) => event.preventDefault());

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
function facts(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) if (value) list.append(element("dt", name), element("dd", value));
  return list;
}
function named(thing) {
  return thing ? `${thing.name} (sha256 ${thing.sha256})` : "none";
}
function quoted(quote) {
  const node = element("blockquote", quote.words === null ? "no longer here" : quote.words);
  node.append(element("br"), element("span", `${quote.id}, ${quote.authority}: ${quote.verdict}, ${quote.why}`, "soft"));
  return node;
}
function rated(rating) {
  if (!rating || !rating.num_ratings) return "none";
  const reasons = Object.entries(rating.reasons).map(([reason, count]) => `${reason} (${count})`);
  return [`${rating.num_ratings}, mean ${rating.mean.toFixed(2)}`, rating.status, ...reasons].filter(Boolean).join("; ");
}
function inside(record) {
  const details = record.details;
  if (details === null) return [element("p", "Its details were erased.", "soft")];
  if (record.kind !== "answer") return [element("code", JSON.stringify(details))];
  const found = details.retrieved.map((hit) => `${hit.id} (${hit.score.toFixed(2)})`);
  return [
    element("p", `Decision: ${details.decision}`),
    ...details.quotes.map(quoted),
    facts([
      ["retrieved", found.join(", ") || "nothing"],
      ["model", named(details.model)],
      ["prompt", named(details.prompt)],
      ["sentences cut", String(details.num_cut)],
      ["cost", `${details.cost_usd.toFixed(4)} $`],
      ["ratings", rated(record.rating)],
      ["question", `sha256 ${details.question_sha256}`],
      ["answer", `sha256 ${details.answer_sha256}`],
    ]),
  ];
}
function entry(record) {
  const node = element("article");
  node.id = String(record.seq);
  const when = new Date(record.at_s * 1000).toISOString().slice(0, 19) + "Z";
  const title = element("a", `${record.seq}. ${record.kind}, ${when}`);
  title.href = `#${record.seq}`;
  const head = element("h2");
  head.append(title);
  node.append(head, ...inside(record), element("code", record.hash, "soft"));
  return node;
}
async function showOlder() {
  const page = await read("/v1/audit/records" + (oldest === null ? "" : `?before=${oldest}`));
  const fresh = page.data.filter((record) => !at(String(record.seq)));
  at("records").append(...fresh.map(entry));
  if (page.data.length) oldest = page.data[page.data.length - 1].seq;
  else if (oldest === null) at("records").append(element("p", "Nothing has been answered yet.", "soft"));
  at("older").hidden = !page.has_more;
}
async function showChain() {
  const chain = await read("/v1/audit/chain");
  const erased = chain.num_erased ? `, ${chain.num_erased} with erased details` : "";
  const state = chain.holds ? "The chain holds" : "The chain does not hold";
  at("chain").className = chain.holds ? "" : "bad";
  at("chain").replaceChildren(`${state}: ${chain.num_records} records${erased}; last hash `, element("code", chain.head));
  at("faults").hidden = chain.holds;
  at("faults").replaceChildren(...chain.faults.map((fault) => element("li", fault)));
}
/* /audit#12: that record, also one that is older than the first page. */
async function showNamed() {
  for (const node of document.querySelectorAll("article.named")) node.classList.remove("named");
  const seq = location.hash.slice(1);
  if (!/^[0-9]+$/.test(seq)) return;
  if (!at(seq)) at("records").prepend(entry(await read(`/v1/audit/records/${seq}`)));
  at(seq).classList.add("named");
  at(seq).scrollIntoView({ block: "center" });
}
function tell(error) {
  at("chain").className = "bad";
  at("chain").textContent = error instanceof TypeError ? "The service does not answer: is it still running?" : error.message;
}
at("older").addEventListener("click", () => showOlder().catch(tell));
addEventListener("hashchange", () => showNamed().catch(tell));
showChain().then(showOlder).then(showNamed).catch(tell);
