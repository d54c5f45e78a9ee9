// The text on the right: rendered, as source, or as JSON.

import { nameOf } from "./documents.js";
import { rendered } from "./markdown.js";
import { text } from "./texts.js";
import { markDoubtful } from "./words.js";

const UNSURE = 0.8; // confidence of an extracted value below which it is doubtful
const VIEWS = { read, source, json };

/** Show a document in `panel`. */
export function showResult(panel, document_, view, withConfidence) {
  panel.replaceChildren(...VIEWS[view](document_));
  if (withConfidence && view !== "json" && document_.report?.lines) {
    markDoubtful(panel, document_.report.lines, (share) => text("probability", share));
  }
}

function read(document_) {
  const { report, content } = document_;
  if (report?.fields) return [fieldsOf(report.fields), ...(report.checks?.length ? [checksOf(report.checks)] : [])];
  if (["spotting", "receipt", "invoice", "form"].includes(document_.mode)) return source(document_);
  const parts = rendered(content);
  for (const part of parts) {
    const { start, end } = part.dataset;
    const names = spans(document_).filter((block) => block.text[0] < end && block.text[1] > start).map(nameOf);
    part.dataset.blocks = names.join(" ");
  }
  return parts;
}

/** The text with an element for each block. */
function source(document_) {
  const pre = element("pre");
  const characters = [...document_.content];
  let place = 0;
  for (const block of spans(document_)) {
    const [start, end] = block.text;
    if (start < place) continue; // a table's second half stands in the first
    const piece = element("span", characters.slice(start, end).join(""));
    piece.className = "part";
    piece.dataset.blocks = nameOf(block);
    pre.append(characters.slice(place, start).join(""), piece);
    place = end;
  }
  pre.append(characters.slice(place).join(""));
  return [pre];
}

function json(document_) {
  return [element("pre", JSON.stringify(document_.asJson(), null, 2))];
}

function spans(document_) {
  return document_.blocks.filter((block) => block.text).sort((one, other) => one.text[0] - other.text[0]);
}

function fieldsOf(fields) {
  const rows = fields.map((field) => {
    const doubtful = field.status === "doubtful" || (field.confidence !== null && field.confidence < UNSURE);
    const value = element("td", field.value === null ? "–" : String(field.value));
    const sure = element("td", field.confidence === null ? "" : `${Math.round(field.confidence * 100)} %`);
    const row = element("tr", element("th", field.path), value, sure, element("td", doubtful ? text("doubtful") : ""));
    row.classList.toggle("doubtful", doubtful);
    if (field.line) row.title = field.line;
    return row;
  });
  return table([text("field"), text("value"), "", ""], rows);
}

function checksOf(checks) {
  const rows = checks.map((check) => {
    const said = text(check.holds ? "holds" : "holdsNot");
    const row = element("tr", element("th", check.rule), element("td", `${check.left} | ${check.right}`), element("td", said));
    row.classList.toggle("doubtful", !check.holds);
    return row;
  });
  return table([text("checks"), "", ""], rows);
}

function table(heads, rows) {
  const head = element("tr", ...heads.map((name) => element("th", name)));
  const made = element("table", element("thead", head), element("tbody", ...rows));
  made.className = "fields";
  return made;
}

function element(name, ...content) {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}
