// The page: what is dropped is read, one document after another, and shown.

import { Document, nameOf } from "./documents.js";
import { filesFrom } from "./intake.js";
import { askForKey, keysTo } from "./key.js";
import { chosenModes, offerModes } from "./modes.js";
import { drawPage } from "./paper.js";
import { showResult } from "./result.js";
import { asCurl, asPython, saveJson, saveMarkdown, saveZip } from "./saving.js";
import { health, servedModel } from "./server.js";
import { chosenLanguage, text, useLanguage } from "./texts.js";

const PAUSE = 200; // milliseconds between two drawings of a text that grows
const VIEWS = ["read", "source", "json"];

const $ = (id) => document.getElementById(id);
const documents = [];
let model = null; // that is served, once it is known
let shown = null; // the document on the screen
let page = 1; // and its page
let view = "read";
let follows = true; // the page on the left is the one that is read
let busy = false;
let drawing = null; // a timer

// --- the server ----------------------------------------------------------------------------------------------------

async function greet() {
  try {
    model = await servedModel();
    const state = await health();
    const facts = [model.id, model.layout, state.device, state.dtype].filter(Boolean).join(" · ");
    $("server").textContent = state.model_loaded ? facts : text("loading");
    if (!state.model_loaded) setTimeout(greet, 1000);
    readNext();
  } catch (error) {
    if (error.status === 401) return askForKey();
    $("server").textContent = text("noServer");
    setTimeout(greet, 3000);
  }
}

// --- documents -----------------------------------------------------------------------------------------------------

function add(files) {
  const { mode, layout } = chosenModes($("mode"), $("layout"));
  for (const file of files) {
    const added = new Document(file, mode, layout);
    added.addEventListener("change", () => changed(added));
    documents.push(added);
    if (!shown || !shown.isOpen) show(added);
  }
  list();
  readNext();
}

async function readNext() {
  const next = documents.find((one) => one.state === "waiting");
  if (busy || !model || !next) return;
  busy = true;
  if (!shown?.isOpen || shown.state === "waiting") show(next);
  await next.read(model);
  busy = false;
  if (next.error?.status === 401) askForKey();
  else readNext();
}

function show(one) {
  Object.assign($("document"), { hidden: false });
  [shown, page, follows] = [one, 1, true];
  draw();
  list();
}

function changed(one) {
  list();
  if (one === shown) drawing ??= setTimeout(draw, one.isOpen ? PAUSE : 0);
}

function list() {
  $("documents").hidden = documents.length < 2;
  if (documents.length < 2) return;
  $("documents").replaceChildren(
    ...documents.map((one) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${one.name} – ${stateOf(one)}`;
      button.setAttribute("aria-current", one === shown);
      button.addEventListener("click", () => show(one));
      item.append(button);
      return item;
    }),
  );
}

function stateOf(one) {
  const { progress } = one;
  if (one.state !== "reading" || !progress) return text(one.state);
  return text("progress", progress.page, progress.pages, progress.block, progress.blocks);
}

// --- drawing -------------------------------------------------------------------------------------------------------

function draw() {
  clearTimeout(drawing);
  drawing = null;
  const { progress } = shown;
  if (follows && progress) page = progress.page;
  $("document-name").textContent = shown.name;
  $("state").textContent = stateOf(shown);
  $("document").setAttribute("aria-busy", shown.isOpen);
  $("progress").hidden = !shown.isOpen;
  if (progress) {
    const within = progress.blocks ? progress.block / progress.blocks : 0;
    $("progress").value = (progress.page - 1 + within) / progress.pages;
  } else $("progress").removeAttribute("value");
  $("stop").hidden = !shown.isOpen;
  $("again").hidden = shown.isOpen;
  const failed = shown.state === "failed";
  $("error").hidden = !failed;
  $("error").textContent = failed ? shown.error.message : "";
  for (const id of ["copy", "save-md", "save-json", "save-zip"]) $(id).disabled = shown.content === "";
  drawSheet();
  const atEnd = $("view").scrollHeight - $("view").scrollTop - $("view").clientHeight < 40;
  showResult($("view"), shown, view, $("confidence").checked);
  if (shown.isOpen && atEnd) $("view").scrollTop = $("view").scrollHeight;
}

function drawSheet() {
  const pages = shown.pages.length;
  $("paper").hidden = pages === 0;
  $("pages").hidden = (shown.progress?.pages ?? 1) < 2;
  $("page-number").textContent = text("pageOf", page, shown.progress?.pages ?? 1);
  $("previous").disabled = page <= 1;
  $("next").disabled = page >= pages;
  drawPage($("sheet"), shown, page);
}

function turn(to) {
  [page, follows] = [to, false];
  drawSheet();
  const first = shown.blocks.find((block) => block.page === page && block.text);
  if (first) partsOf(nameOf(first))[0]?.scrollIntoView({ block: "nearest" });
}

function look(at) {
  view = at;
  for (const name of VIEWS) {
    $(`tab-${name}`).setAttribute("aria-selected", name === view);
    $(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  $("view").setAttribute("aria-labelledby", `tab-${view}`);
  $("confidence-label").hidden = view === "json";
  if (shown) draw();
}

// --- a block and its partner ---------------------------------------------------------------------------------------

function partsOf(name) {
  return [...$("view").querySelectorAll("[data-blocks]")].filter((part) => part.dataset.blocks.split(" ").includes(name));
}

function light(event) {
  for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
  const block = event.target.closest?.("[data-block]");
  const part = event.target.closest?.("[data-blocks]");
  if (block) {
    const partners = partsOf(block.dataset.block);
    for (const lit of [block, ...partners]) lit.classList.add("lit");
    partners[0]?.scrollIntoView({ block: "nearest" });
  } else if (part?.dataset.blocks) {
    part.classList.add("lit");
    for (const name of part.dataset.blocks.split(" ")) {
      $("sheet").querySelector(`[data-block="${name}"]`)?.classList.add("lit");
    }
  }
}

function follow(event) {
  const [name] = event.target.closest("[data-blocks]")?.dataset.blocks.split(" ") ?? [];
  if (name && Number(name.split(":")[0]) !== page) turn(Number(name.split(":")[0]));
  if (name) light(event);
}

// --- what the reader does ------------------------------------------------------------------------------------------

function options() {
  offerModes($("mode"), $("layout"));
}

function speak(language) {
  useLanguage(language);
  options();
  list();
  if (shown) draw();
}

async function copy() {
  await navigator.clipboard.writeText(view === "json" ? JSON.stringify(shown.asJson(), null, 2) : shown.content);
  $("copy").textContent = text("copied");
  setTimeout(() => ($("copy").textContent = text("copy")), 1500);
}

function again() {
  Object.assign(shown, chosenModes($("mode"), $("layout")));
  shown.clear();
  show(shown);
  readNext();
}

function showRequest() {
  $("request-curl").textContent = asCurl(shown, model);
  $("request-python").textContent = asPython(shown, model);
  $("request-dialog").showModal();
}

function moveTab(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  look(VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length]);
  $(`tab-${view}`).focus();
}

function begin() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  filesFrom({ drop: $("drop"), choosers: [$("files"), $("camera")] }, add);
  on("language", "change", (event) => speak(event.target.value));
  on("mode", "change", options);
  on("stop", "click", () => shown.stop());
  on("again", "click", again);
  on("previous", "click", () => turn(page - 1));
  on("next", "click", () => turn(page + 1));
  on("copy", "click", copy);
  on("save-md", "click", () => saveMarkdown(shown));
  on("save-json", "click", () => saveJson(shown));
  on("save-zip", "click", () => saveZip(shown));
  on("request-open", "click", showRequest);
  on("confidence", "change", draw);
  keysTo(() => {
    for (const one of documents) if (one.error?.status === 401) one.clear();
    greet();
  });
  for (const name of VIEWS) {
    on(`tab-${name}`, "click", () => look(name));
    on(`tab-${name}`, "keydown", moveTab);
  }
  for (const event of ["pointerover", "focusin"]) on("panes", event, light);
  on("view", "click", follow);
  $("language").value = chosenLanguage();
  speak(chosenLanguage());
  look("read");
  list();
  greet();
}

begin();
