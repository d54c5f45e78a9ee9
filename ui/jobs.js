// The page of the OCR API: documents are left as jobs, watched, looked at and saved.

import { filesFrom } from "./intake.js";
import { act, counts, ENDED, listed, resultOf, submit, withFigures } from "./job_api.js";
import { nameOf, showJobs } from "./job_rows.js";
import { askForKey, keysTo } from "./key.js";
import { rendered } from "./markdown.js";
import { chosenModes, offerModes } from "./modes.js";
import { save } from "./saving.js";
import { chosenLanguage, text, useLanguage } from "./texts.js";

const STATUSES = ["", "queued", "running", "done", "failed", "cancelled"];
const ENDINGS = { markdown: "md", text: "txt" }; // of files, where they are not the format's name
const STEP = 20; // jobs that are listed at first, and more each time
const SOON = 700; // milliseconds between two looks while something is read
const LATER = 5000; // and otherwise

const $ = (id) => document.getElementById(id);
const uploads = []; // {file, how, formats, state, error}
let limit = STEP;
let looking = null; // a timer
let jobs = [];
let sending = false;

// --- what is there -------------------------------------------------------------------------------------------------

async function look() {
  clearTimeout(looking);
  let pause = LATER;
  try {
    const found = await listed($("status").value, limit);
    const active = await counts();
    jobs = found.jobs;
    draw();
    $("more").hidden = !found.more;
    $("server").textContent = active ? text("counts", active.queued ?? 0, active.running ?? 0) : "";
    if (jobs.some((job) => !ENDED.includes(job.status))) pause = SOON;
  } catch (error) {
    if (error.status === 401) return askForKey();
    $("server").textContent = error.status ? error.message : text("noServer");
  }
  clearTimeout(looking);
  if (!document.hidden) looking = setTimeout(look, pause);
}

function draw() {
  showJobs($("rows"), jobs, { open, save: download, act: change });
  $("jobs").hidden = jobs.length === 0;
  $("none").hidden = jobs.length > 0;
}

// --- what is sent --------------------------------------------------------------------------------------------------

function add(files) {
  const how = chosenModes($("mode"), $("layout"));
  const formats = [...$("formats").querySelectorAll("input:checked")].map((box) => box.value);
  if (formats.length === 0) return complain(text("noFormat"));
  complain("");
  for (const file of files) uploads.push({ file, how, formats, state: "waiting", error: null });
  send();
}

async function send() {
  drawUploads();
  const next = uploads.find((one) => one.state === "waiting");
  if (sending || !next) return;
  sending = true;
  next.state = "sending";
  drawUploads();
  try {
    await submit(next.file, next.how, next.formats);
    uploads.splice(uploads.indexOf(next), 1);
    look();
  } catch (error) {
    Object.assign(next, { state: "failed", error });
    if (error.status === 401) askForKey();
  }
  sending = false;
  send();
}

function drawUploads() {
  $("uploads").hidden = uploads.length === 0;
  $("uploads").replaceChildren(
    ...uploads.map((one) => {
      const item = document.createElement("li");
      item.append(`${one.file.name} – ${one.error ? one.error.message : text(one.state)} `);
      if (one.state === "failed") {
        const again = document.createElement("button");
        again.type = "button";
        again.textContent = text("job.retry");
        again.addEventListener("click", () => {
          Object.assign(one, { state: "waiting", error: null });
          send();
        });
        item.append(again);
      }
      return item;
    }),
  );
}

// --- what the reader does ------------------------------------------------------------------------------------------

/** Do it; what the API says against it is shown. */
async function trying(work) {
  complain("");
  try {
    await work();
  } catch (error) {
    if (error.status === 401) askForKey();
    else complain(error.message);
  }
}

function complain(message) {
  $("error").hidden = message === "";
  $("error").textContent = message;
}

function change(job, action) {
  return trying(async () => {
    await act(job, action);
    await look();
  });
}

function download(job, format) {
  return trying(async () => {
    const stem = nameOf(job).split("/").pop().replace(/\.[^.]*$/, "") || job.id;
    const result = await resultOf(job, format);
    save(`${stem}.${ENDINGS[format] ?? format}`, result, result.type);
  });
}

function open(job, format) {
  return trying(async () => {
    const content = await (await resultOf(job, format)).text();
    const isMarkdown = format === "markdown" && job.options.mode === "document";
    $("result-title").textContent = nameOf(job);
    if (isMarkdown) $("view").replaceChildren(...rendered(await withFigures(job, content)));
    else {
      const pre = document.createElement("pre");
      pre.textContent = content;
      $("view").replaceChildren(pre);
    }
    $("result-dialog").showModal();
    $("view").scrollTop = 0;
  });
}

function options() {
  offerModes($("mode"), $("layout"));
}

function speak(language) {
  useLanguage(language);
  options();
  const chosen = $("status").value;
  $("status").replaceChildren(...STATUSES.map((one) => new Option(text(one ? `job.${one}` : "allJobs"), one)));
  $("status").value = chosen;
  drawUploads();
  draw();
}

function begin() {
  const on = (id, event, act_) => $(id).addEventListener(event, act_);
  filesFrom({ drop: $("drop"), choosers: [$("files"), $("camera")] }, add);
  on("language", "change", (event) => speak(event.target.value));
  on("mode", "change", options);
  on("status", "change", () => {
    limit = STEP;
    look();
  });
  on("more", "click", () => {
    limit += STEP;
    look();
  });
  document.addEventListener("visibilitychange", look);
  keysTo(() => {
    for (const one of uploads) if (one.error?.status === 401) Object.assign(one, { state: "waiting", error: null });
    look();
    send();
  });
  $("language").value = chosenLanguage();
  speak(chosenLanguage());
  $("none").hidden = true; // until it is known
  look();
}

begin();
