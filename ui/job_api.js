// The OCR API, as its page asks it. All throw ServerError.

import { dataUri } from "./documents.js";
import { ask } from "./server.js";

const FIGURE = /(?<=[("])[\w-]+\.png(?=[)"])/g; // as a link or an attribute names it

export const ENDED = ["done", "failed", "cancelled"];

/** Up to `limit` jobs, newest first, of one status or, with "", of all: `{jobs, more}`. */
export async function listed(status, limit) {
  const jobs = [];
  let found;
  do {
    const wanted = new URLSearchParams({ limit: Math.min(100, limit - jobs.length) });
    if (status) wanted.append("status", status);
    if (found) wanted.append("after", found.last_id);
    found = await (await ask(`v1/jobs?${wanted}`)).json();
    jobs.push(...found.data);
  } while (found.has_more && jobs.length < limit);
  return { jobs, more: found.has_more };
}

/** The new job of a file; `formats`: of its results. */
export async function submit(file, { mode, layout }, formats) {
  const body = new FormData();
  body.append("mode", mode);
  if (layout !== "auto") body.append("layout", layout);
  body.append("formats", formats.join(","));
  body.append("file", file, file.name || "image");
  return (await ask("v1/jobs", { method: "POST", body })).json();
}

/** The job after `cancel` or `retry`. */
export async function act(job, action) {
  return (await ask(`v1/jobs/${job.id}/${action}`, { method: "POST" })).json();
}

/** A result as a blob. */
export async function resultOf(job, format) {
  return (await ask(`v1/jobs/${job.id}/result?format=${format}`)).blob();
}

/** A job's Markdown with the figures that it links to as data URIs. */
export async function withFigures(job, markdown) {
  if (job.options.images !== "link") return markdown;
  const names = [...new Set(markdown.match(FIGURE) ?? [])];
  const uris = await Promise.all(names.map(async (name) => dataUri(await (await ask(`v1/jobs/${job.id}/images/${name}`)).blob())));
  return names.reduce((text, name, place) => text.replaceAll(name, uris[place]), markdown);
}

/** How many jobs wait and run, and whether a worker is here; null where the API does not say. */
export async function counts() {
  const health = await (await ask("health", {}, true)).json();
  return health.jobs ?? null;
}
