// The audit page: one clip at a time, decided by key or button. Every decision is an event; the last one of a clip counts.
"use strict";

const at = (id) => document.getElementById(id);
const { key, classes, methods, clips, corrections } = JSON.parse(at("audit").textContent);
const STORE = `tonestack-audit-${key}`;
const ACTS = { k: "keep", a: "accept", r: "relabel", d: "drop", s: "skip", u: "undo" };
const WORDS = { keep: "kept", relabel: "relabelled", drop: "dropped", skip: "skipped" };

// -------------------------------------------------------------------------------------------------------------- events

const state = Object.assign({ events: [], by: "", keys: true, autoplay: false }, read());
let current = 0;

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {}; // no storage here, or not ours
  }
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify(state));
  } catch {
    say("This browser keeps nothing: download corrections.csv before you leave.");
  }
}

function decisions() { // clip -> its last event; those of corrections.csv come first
  return new Map([...corrections, ...state.events].map((event) => [event.clip_id, event]));
}

function decide(decision, label) {
  const clip = clips[current];
  const when = new Date().toISOString().slice(0, 19) + "Z";
  state.events.push({ clip_id: clip.id, decision, label, by: state.by, when });
  keep();
  const to = decision === "relabel" ? ` to ${label}` : "";
  say(`${clip.id} ${WORDS[decision]}${to}.`);
  go(following());
}

function following() { // the next clip without an event, else the next one
  const done = decisions();
  const order = clips.map((_, i) => (current + 1 + i) % clips.length);
  return order.find((i) => !done.has(clips[i].id)) ?? Math.min(current + 1, clips.length - 1);
}

function undo() {
  const last = state.events.pop();
  keep();
  say(last ? `Undone: ${last.clip_id}.` : "Nothing to undo.");
  const place = last ? clips.findIndex((clip) => clip.id === last.clip_id) : -1;
  go(place < 0 ? current : place);
}

// ---------------------------------------------------------------------------------------------------------------- csv

const FORMULA = /(^|[;,|\t\r\n])('*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/g; // as base/text.py has it

function cell(text) { // inert in a spreadsheet: the reader takes the apostrophe off again
  const guarded = text.replace(FORMULA, "$1$2'");
  return /[",\r\n]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}

function csv() {
  const columns = ["clip_id", "decision", "label", "by", "when"];
  const rows = [...decisions().values()].filter((event) => event.decision !== "skip");
  const lines = rows.map((row) => columns.map((name) => cell(String(row[name] ?? ""))).join(","));
  return [columns.join(","), ...lines].join("\n") + "\n";
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// -------------------------------------------------------------------------------------------------------------- showing

function say(text) {
  at("said").textContent = text;
}

function row(cells) {
  const line = document.createElement("tr");
  cells.forEach((text, i) => {
    const made = document.createElement("td");
    made.textContent = text;
    if (i) made.className = "number";
    if (i && text) made.append(share(Number(text)));
    line.append(made);
  });
  return line;
}

function share(value) {
  const made = document.createElement("span");
  made.className = "share";
  made.style.width = `${Math.round(100 * value)}%`;
  return made;
}

function said(event) {
  if (!event) return "";
  return event.decision === "relabel" ? `relabel: ${event.label}` : event.decision;
}

function go(number) {
  current = number;
  const clip = clips[current];
  at("clip-name").textContent = clip.id;
  at("place").textContent = `Clip ${current + 1} of ${clips.length}${clip.span ? `, heard: ${clip.span}` : ""}`;
  at("given").textContent = clip.given + (clip.verified ? " (verified)" : "");
  at("proposed").textContent = clip.proposed || "none";
  at("decision").textContent = said(decisions().get(clip.id)) || "none yet";
  document.querySelector("[data-act=accept]").disabled = !clip.proposed;
  at("confidence").replaceChildren(...methods.map((name, i) => row([name, clip.confidence[i]?.toFixed(3) ?? ""])));
  at("choices").replaceChildren(...clip.guesses.map(([label, p]) => row([label, p.toFixed(3)])));
  at("guesses").hidden = !clip.guesses.length;
  at("relabel").hidden = true;
  hear(clip);
  mark();
}

function hear(clip) {
  const [player, picture] = [at("player"), at("spectrogram")];
  player.pause();
  player.hidden = !clip.audio;
  at("no-sound").hidden = Boolean(clip.audio);
  picture.hidden = !clip.picture;
  if (clip.picture) picture.src = clip.picture;
  picture.alt = clip.picture ? `Log-mel spectrogram of ${clip.id}, low frequencies at the bottom` : "";
  at("cursor").hidden = true;
  if (clip.audio) player.src = clip.audio;
  if (clip.audio && state.autoplay) player.play().catch(() => {});
}

function follow() { // a line across the spectrogram, where the sound is
  const player = at("player");
  at("cursor").hidden = !player.duration || !clips[current].picture;
  at("cursor").style.left = `${(100 * player.currentTime) / (player.duration || 1)}%`;
  if (!player.paused) requestAnimationFrame(follow);
}

function mark() {
  const done = decisions();
  const count = clips.filter((clip) => done.has(clip.id) && done.get(clip.id).decision !== "skip").length;
  at("progress").value = count;
  at("count").textContent = `${count} of ${clips.length} decided`;
  [...at("list").children].forEach((item, i) => {
    const [button, event] = [item.firstElementChild, done.get(clips[i].id)];
    button.setAttribute("aria-current", String(i === current));
    button.lastElementChild.textContent = event ? WORDS[event.decision] : "";
    button.lastElementChild.className = event && event.decision !== "skip" ? "state done" : "state";
  });
  const list = at("list");
  const shown = list.children[current];
  list.scrollTop = shown.offsetTop - list.offsetTop - list.clientHeight / 2;
}

function lists() {
  at("list").append(...clips.map((clip, i) => {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    const [name, done] = [document.createElement("span"), document.createElement("span")];
    name.className = "name";
    name.textContent = clip.id;
    button.type = "button";
    button.append(name, done);
    button.addEventListener("click", () => go(i));
    item.append(button);
    return item;
  }));
  at("classes").append(...classes.map((name) => {
    const option = document.createElement("option");
    option.value = name;
    return option;
  }));
}

// ------------------------------------------------------------------------------------------------------------- actions

function ask() {
  at("relabel").hidden = false;
  at("wrong").textContent = "";
  at("label").value = "";
  at("label").focus();
}

function answer(event) {
  event.preventDefault();
  const typed = at("label").value.trim().toLowerCase();
  const alike = classes.filter((name) => name.toLowerCase().includes(typed));
  const exact = classes.find((name) => name.toLowerCase() === typed);
  const label = exact ?? (typed && alike.length === 1 ? alike[0] : undefined);
  if (label === undefined) {
    at("wrong").textContent = alike.length && typed ? `Several labels: ${alike.slice(0, 6).join(", ")}` : "No such label.";
    return;
  }
  at("label").blur();
  decide(label === clips[current].given ? "keep" : "relabel", label);
}

function act(name) {
  const clip = clips[current];
  if (name === "keep") decide("keep", clip.given);
  if (name === "accept" && clip.proposed) decide("relabel", clip.proposed);
  if (name === "relabel") ask();
  if (name === "drop" || name === "skip") decide(name, "");
  if (name === "undo") undo();
}

function pressed(event) {
  const typing = event.target.matches("input[type=text], input[list]");
  if (event.key === "Escape") at("cancel").click();
  if (typing || !state.keys || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const name = ACTS[event.key.toLowerCase()];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key.toLowerCase() === "p") at("player")[at("player").paused ? "play" : "pause"]();
  else if (step && !event.target.matches("audio")) go(Math.min(Math.max(current + step, 0), clips.length - 1));
  else if (name) act(name);
  else return;
  event.preventDefault();
}

for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => act(button.dataset.act));
}
at("relabel").addEventListener("submit", answer);
at("cancel").addEventListener("click", () => {
  at("label").blur();
  at("relabel").hidden = true;
});
at("download").addEventListener("click", download);
document.addEventListener("keydown", pressed);
for (const [id, field] of [["by", "value"], ["keys", "checked"], ["autoplay", "checked"]]) {
  at(id)[field] = state[id];
  at(id).addEventListener("change", () => {
    state[id] = at(id)[field];
    keep();
  });
}

at("player").addEventListener("play", follow);
at("player").addEventListener("seeked", follow);

lists();
go(Math.max(0, clips.findIndex((clip) => !decisions().has(clip.id))));
