// The table of jobs: a row each, which stays where it is while it changes, so that the keyboard keeps its place.

import { ENDED } from "./job_api.js";
import { text } from "./texts.js";

const SUFFIXES = { markdown: ".md", json: ".json", text: ".txt", pdf: "PDF", zip: "ZIP" };
const SHOWN = ["markdown", "text", "json"]; // what can be looked at, the best first

/** Show `jobs` in `body`, a tbody; `acts`: `open`, `save` and `act` of a row's buttons. */
export function showJobs(body, jobs, acts) {
  const known = new Map([...body.rows].map((row) => [row.dataset.job, row]));
  const rows = jobs.map((job) => {
    const row = known.get(job.id) ?? newRow(job);
    const state = JSON.stringify([job.status, job.pages, job.run, document.documentElement.lang]);
    if (row.dataset.state !== state) fill(row, job, acts);
    row.dataset.state = state;
    return row;
  });
  for (const row of [...body.rows]) if (!rows.includes(row)) row.remove();
  rows.forEach((row, place) => body.rows[place] !== row && body.insertBefore(row, body.rows[place] ?? null));
}

export function nameOf(job) {
  return job.source.name ?? job.source.url ?? job.id;
}

/** The format in which a job can be looked at; undefined for none. */
export function shownFormat(job) {
  return SHOWN.find((format) => format in job.results);
}

function newRow(job) {
  const row = document.createElement("tr");
  row.dataset.job = job.id;
  const head = document.createElement("th");
  head.scope = "row";
  row.append(head);
  for (let count = 0; count < 5; count++) row.insertCell();
  return row;
}

function fill(row, job, acts) {
  const [name, status, pages, submitted, results, actions] = row.cells;
  const focused = row.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  const look = shownFormat(job);
  name.replaceChildren(look ? button(nameOf(job), "open", () => acts.open(job, look)) : nameOf(job));
  row.dataset.status = job.status;
  status.replaceChildren(text(`job.${job.status}`), ...(job.error ? [why(job.error.message)] : []));
  pages.replaceChildren(...progress(job));
  submitted.textContent = new Date(job.created_at * 1000).toLocaleString();
  results.replaceChildren(
    ...Object.keys(job.results).map((format) =>
      labelled(button(SUFFIXES[format] ?? format, `save-${format}`, () => acts.save(job, format)), "download", job),
    ),
  );
  const action = ENDED.includes(job.status) ? (job.status === "done" ? null : "retry") : "cancel";
  actions.replaceChildren(
    ...(action ? [labelled(button(text(`job.${action}`), "act", () => acts.act(job, action)), null, job)] : []),
  );
  if (focused) (row.querySelector(`[data-act="${focused}"]`) ?? row.querySelector("button"))?.focus();
}

function progress(job) {
  const { done, total } = job.pages;
  if (!total) return [];
  const said = text("pagesDone", done, total);
  if (job.status !== "running") return [said];
  const bar = document.createElement("progress");
  Object.assign(bar, { max: total, value: done });
  bar.setAttribute("aria-label", said);
  return [bar, " ", said];
}

function why(message) {
  const made = document.createElement("p");
  made.className = "why";
  made.textContent = message;
  return made;
}

function button(label, act, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.dataset.act = act;
  made.addEventListener("click", press);
  return made;
}

/** A button whose name for screen readers tells its document. */
function labelled(made, before, job) {
  made.setAttribute("aria-label", [before && text(before), made.textContent, nameOf(job)].filter(Boolean).join(" "));
  return made;
}
