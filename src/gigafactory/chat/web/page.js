"use strict";
const at = (id) => document.getElementById(id);
const STARTERS = ["What is the capital of France?", "Hello! How are you today?", "Tell me a short story about the sea."];
let models = [];
let talks = readTalks();  // newest first, kept in this browser only
let talk = emptyTalk();
let running = null;   // AbortController of the answer being written

/* ---- conversations ---- */
function emptyTalk() {
  // turns as the protocol sends them, with sources; the first `left` no longer fit
  return { id: `${Date.now()}-${Math.random()}`, turns: [], left: 0 };
}
function readTalks() {
  try { return JSON.parse(localStorage.getItem("talks")) || []; } catch { return []; }
}
function keepTalk(kept) {
  if (kept.isDropped) return;
  talks = [kept, ...talks.filter((t) => t.id !== kept.id)].slice(0, 50);
  storeTalks();
}
function storeTalks() {
  try { localStorage.setItem("talks", JSON.stringify(talks)); } catch { /* full or forbidden: they last as long as the page */ }
  showTalks();
}
function showTalks() {
  at("list").replaceChildren(...talks.map((t) => {
    const entry = element("li", t.id === talk.id ? "open" : "");
    const title = (t.turns[0] || { content: "" }).content;
    const open = element("button", "title", title);
    open.title = title;
    if (t.id === talk.id) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => openTalk(t));
    const drop = element("button", "drop", "×");
    drop.setAttribute("aria-label", `Delete: ${title}`);
    drop.addEventListener("click", () => dropTalk(t));
    entry.append(open, drop);
    return entry;
  }));
}
function openTalk(opened) {
  stop();
  talk = opened;
  list(false);
  for (const node of at("talk").querySelectorAll(".turn, .error")) node.remove();
  at("starters").hidden = talk.turns.length > 0;
  for (const turn of talk.turns) {
    const node = showTurn(turn.role, turn.role === "user" ? "You" : turn.model, turn.content);
    if (turn.sources) showSources(node, turn.content, turn.sources);
    showJudge(node, turn);
  }
  offerAgain();
  showTalks();
  at("scroll").scrollTop = at("scroll").scrollHeight;
  at("question").focus();
}
function dropTalk(dropped) {
  dropped.isDropped = true;
  talks = talks.filter((t) => t.id !== dropped.id);
  storeTalks();
  if (dropped.id === talk.id) startAfresh();
}
function list(isOpen) {
  document.body.classList.toggle("listing", isOpen);
  at("menu").setAttribute("aria-expanded", isOpen);
}
at("menu").addEventListener("click", () => { list(true); at("fresh").focus(); });
at("shade").addEventListener("click", () => list(false));

/* ---- the key, where one is wanted; kept until the browser closes ---- */
async function call(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem("key");
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    await askKey();
  }
}
function askKey() {
  at("key").value = "";
  at("door").showModal();
  return new Promise((resolve) => {
    at("door-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem("key", at("key").value.trim());
      at("door").close();
      resolve();
    };
  });
}
at("door").addEventListener("cancel", (event) => event.preventDefault());

/* ---- appearance ---- */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}
const dark = matchMedia("(prefers-color-scheme: dark)");
setTheme(localStorage.getItem("theme") || (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => { if (!localStorage.getItem("theme")) setTheme(dark.matches ? "dark" : "light"); });
at("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme);
  setTheme(theme);
});

/* ---- building blocks ---- */
function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
function nearEnd() {
  const box = at("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 80;
}
function follow(wasNear) {
  if (wasNear) at("scroll").scrollTop = at("scroll").scrollHeight;
}
function append(node) {
  const near = nearEnd();
  at("talk").append(node);
  follow(near);
  return node;
}
function showTurn(role, who, text) {
  const turn = element("article", "turn " + role);
  turn.append(element("p", "who", who), element("div", "said", text));
  if (role === "assistant") turn.append(element("p", "foot", ""));
  return append(turn);
}
/* A number behind each claim, and the quote that it rests on beside it. */
function showSources(turn, text, sources) {
  const said = turn.querySelector(".said");
  const shown = element("ol", "sources");
  const marks = sources.map((source, index) => ({ at: source.last ?? text.length, number: index + 1 }));
  let from = 0;
  said.replaceChildren();
  for (const mark of marks.slice().sort((a, b) => a.at - b.at)) {
    const end = Math.min(Math.max(mark.at, from), text.length);
    const number = element("button", "mark", String(mark.number));
    number.setAttribute("aria-label", `Source ${mark.number}`);
    number.addEventListener("click", () => nameSource(shown, mark.number - 1));
    said.append(text.slice(from, end), number);
    from = end;
  }
  said.append(text.slice(from));
  shown.append(...sources.map(sourceEntry));
  turn.querySelector(".sources")?.remove();
  turn.classList.add("sourced");
  turn.append(shown);
}
function sourceEntry(source, index) {
  const entry = element("li", "");
  const where = `${index + 1} · ${source.title ? source.title + " · " : ""}${source.id}`;
  const isWeb = /^https?:/.test(source.url || "");
  const name = element(isWeb ? "a" : "span", "", where);
  if (isWeb) { name.href = source.url; name.target = "_blank"; name.rel = "noopener noreferrer"; }
  entry.append(element("q", "", source.quote), name);
  return entry;
}
function nameSource(shown, index) {
  [...shown.children].forEach((entry, i) => entry.classList.toggle("named", i === index));
  shown.children[index].scrollIntoView({ block: "nearest" });
}
/* The record of an answer, and what its reader thinks of it. */
const REASONS = {
  0: ["wrong", "not what the source says", "out of date", "beside the point", "one-sided"],
  1: ["clear", "good sources"],
};
function showJudge(node, turn) {
  node.querySelector(".judge")?.remove();
  if (!turn.record) return;
  const shown = element("div", "judge");
  shown.setAttribute("role", "group");
  shown.setAttribute("aria-label", "What do you think of this answer?");
  const link = element("a", "", `Record ${turn.record}`);
  link.href = `/audit#${turn.record}`;
  const pick = (words, isOn, value, reason) => {
    const button = element("button", "", words);
    button.type = "button";
    button.setAttribute("aria-pressed", isOn);
    button.addEventListener("click", () => judge(node, turn, value, reason));
    return button;
  };
  shown.append(link, pick("Helpful", turn.value === 1, 1), pick("Not helpful", turn.value === 0, 0));
  for (const reason of REASONS[turn.value] || []) shown.append(pick(reason, turn.reason === reason, turn.value, reason));
  node.append(shown);
}
async function judge(node, turn, value, reason) {
  const rating = { record: turn.record, value, rater: reader() };
  if (reason) rating.reason = reason;
  try {
    const response = await call("/v1/ratings", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(rating),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
  } catch (error) {
    showError(error instanceof TypeError ? "The service does not answer: is it still running?" : error.message);
    return;
  }
  Object.assign(turn, { value, reason });
  storeTalks();
  const place = [...node.querySelectorAll(".judge button")].indexOf(document.activeElement);
  showJudge(node, turn);
  node.querySelectorAll(".judge button")[Math.max(place, 0)].focus();
}
/* Where there are no keys, a rating is this browser's. */
function reader() {
  const known = localStorage.getItem("reader");
  if (known) return known;
  const fresh = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
  localStorage.setItem("reader", fresh);
  return fresh;
}
function offerAgain() {
  for (const button of at("talk").querySelectorAll(".once-more")) button.remove();
  const last = [...at("talk").querySelectorAll(".turn")].pop();
  if (!last || !last.classList.contains("assistant") || running) return;
  const button = element("button", "again", "Ask again");
  button.type = "button";
  button.addEventListener("click", askAgain);
  const foot = last.querySelector(".foot");
  const place = element("span", "once-more", foot.textContent ? " · " : "");
  place.append(button);
  foot.append(place);
}
function showError(message) {
  const box = element("p", "error", message);
  box.setAttribute("role", "alert");
  append(box);
}

/* ---- models ---- */
async function loadModels() {
  const answer = await call("/v1/models");
  if (!answer.ok) throw new Error("the list of models could not be read");
  const list = await answer.json();
  models = list.data.filter((m) => m.chats);
  at("model").replaceChildren(...models.map((m) => new Option(m.id, m.id)));
  at("notice").textContent = list.notice || "";
  at("notice").hidden = !list.notice;
  showAbout();
}
function model() {
  return models.find((m) => m.id === at("model").value);
}
function showAbout() {
  const chosen = model();
  if (!chosen) return;
  const room = chosen.context_tokens;
  const mind = room ? ` It keeps ${room.toLocaleString("en")} tokens in mind.` : "";
  at("about").textContent = `${chosen.id} answers. ${chosen.about}${mind}`;
}
at("model").addEventListener("change", showAbout);

/* ---- one question ---- */
async function* events(response) {
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const line = part.replace(/^data: /, "");
      if (line !== "[DONE]") yield JSON.parse(line);
    }
  }
}
async function post(name, messages, signal) {
  const said = messages.map(({ role, content }) => ({ role, content }));
  const body = { model: name, messages: said, stream: true, stream_options: { include_usage: true } };
  return call("/v1/chat/completions", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  });
}
/* The oldest turns leave when the context is full, two by two so that a user speaks first. */
async function postWhatFits(name, conversation, signal) {
  for (;;) {
    const response = await post(name, conversation.turns.slice(conversation.left), signal);
    if (response.ok) return response;
    const error = (await response.json()).error;
    if (error.code !== "context_length_exceeded" || !dropOldest(conversation)) throw new Error(error.message);
  }
}
function dropOldest(conversation) {
  if (conversation.left + 2 > conversation.turns.length) return false;
  conversation.left += 2;
  return true;
}
function showProgress(turn, state) {
  const seconds = (performance.now() - state.firstAt) / 1000;
  const count = state.usage ? state.usage.completion_tokens : 0;
  const words = [];
  if (count) words.push(count === 1 ? "1 token" : `${count} tokens`);
  if (count > 4) words.push(`${((count - 1) / seconds).toFixed(0)} tokens/s`);
  if (state.finish === "length") words.push("cut at the limit");
  if (state.stopped) words.push("stopped");
  if (state.left) words.push(`without the first ${state.left} messages, which no longer fit`);
  turn.querySelector(".foot").textContent = words.join(" · ");
}
async function receive(turn, name, conversation, state, signal) {
  const response = await postWhatFits(name, conversation, signal);
  state.left = conversation.left;
  const said = turn.querySelector(".said");
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error.message);
    if (event.usage) state.usage = event.usage;
    const choice = event.choices[0];
    if (!choice) continue;
    const near = nearEnd();
    state.firstAt ||= performance.now();
    state.text += choice.delta.content || "";
    state.finish = choice.finish_reason || state.finish;
    state.sources.push(...(choice.delta.sources || []));
    state.record = choice.delta.record || state.record;
    said.textContent = state.text;
    follow(near);
  }
}
function keepAnswer(conversation, name, state) {
  const turn = { role: "assistant", content: state.text, model: name };
  if (state.sources.length) turn.sources = state.sources;
  if (state.record) turn.record = state.record;
  conversation.turns.push(turn);
  keepTalk(conversation);
  state.kept = turn;
  const context = models.find((m) => m.id === name).context_tokens;
  const used = state.usage ? state.usage.total_tokens : 0;
  if (used > 0.75 * context) dropOldest(conversation);  // leaves room for the next answer
}
function ask(question) {
  at("starters").hidden = true;
  talk.turns.push({ role: "user", content: question });
  const asked = showTurn("user", "You", question);
  keepTalk(talk);
  return answer(question, asked);
}
function askAgain() {
  const turn = talk.turns[talk.turns.length - 1];
  if (running || !turn || turn.role !== "assistant") return;
  talk.turns.pop();
  talk.left = Math.min(talk.left, talk.turns.length - 1);
  [...at("talk").querySelectorAll(".turn")].pop().remove();
  answer(talk.turns[talk.turns.length - 1].content, null);
}
async function answer(question, asked) {
  const name = at("model").value;
  const state = { text: "", usage: null, finish: null, stopped: false, left: 0, firstAt: 0, sources: [], record: null, kept: null };
  const conversation = talk;  // another one may be opened while this answer is being stopped
  for (const node of at("talk").querySelectorAll(".error")) node.remove();
  const turn = showTurn("assistant", name, "");
  turn.classList.add("writing");
  at("scroll").scrollTop = at("scroll").scrollHeight;
  const mine = running = new AbortController();
  setBusy(true);
  offerAgain();
  try {
    await receive(turn, name, conversation, state, mine.signal);
  } catch (error) {
    state.stopped = error.name === "AbortError";
    if (!state.stopped) showError(error instanceof TypeError ? "The service does not answer: is it still running?" : error.message);
  }
  if (running === mine) { running = null; setBusy(false); }
  turn.classList.remove("writing");
  if (state.text) keepAnswer(conversation, name, state);
  else takeBack(conversation, question, asked, turn, state);
  if (state.sources.length) showSources(turn, state.text, state.sources);
  if (state.kept) showJudge(turn, state.kept);
  const near = nearEnd();
  showProgress(turn, state);
  if (conversation === talk) offerAgain();
  follow(near);
  at("question").focus();
}
/* No word came: the question can be sent anew. */
function takeBack(conversation, question, asked, turn, state) {
  conversation.turns.pop();
  if (conversation.turns.length) keepTalk(conversation);
  else { talks = talks.filter((t) => t.id !== conversation.id); storeTalks(); }
  if (state.stopped || conversation !== talk) return;
  turn.remove();
  if (asked) asked.remove();
  at("question").value = question;
  resize();
}

/* ---- keyboard and buttons ---- */
function setBusy(busy) {
  at("send").hidden = busy;
  at("stop").hidden = !busy;
  at("model").disabled = busy;
}
function submit() {
  const question = at("question").value.trim();
  if (!question || running || !models.length) return;
  at("question").value = "";
  resize();
  ask(question);
}
function resize() {
  const box = at("question");
  box.style.height = "auto";
  box.style.height = box.scrollHeight + 2 + "px";
}
function stop() {
  if (running) running.abort();
}
function startAfresh() {
  openTalk(emptyTalk());
}
at("form").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
at("question").addEventListener("input", resize);
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
document.addEventListener("keydown", (event) => { 
  if (event.key === "Escape") { stop(); list(false); }
  if (event.altKey && event.code === "KeyR") { event.preventDefault(); askAgain(); }
  if (event.altKey && event.code === "KeyN") { event.preventDefault(); startAfresh(); }
});
at("stop").addEventListener("click", stop);
at("fresh").addEventListener("click", startAfresh);
for (const text of STARTERS) {
  const button = element("button", "", text);
  button.type = "button";
  button.addEventListener("click", () => { at("question").value = text; submit(); });
  at("starters").append(button);
}
showTalks();
loadModels().catch((error) => showError(error.message));
