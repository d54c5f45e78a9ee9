// The server's API, as the page asks it. Keys stay in this tab.

const KEY = "paddleocr-vl-key";
const FIGURES = new Set(["document"]); // modes whose text may hold figures

/** Error that the API has worded; `status` is 0 where no server answered. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function key() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function useKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** The model that is served, as `/v1/models` shows it: `{id, layout}`. Throws ServerError. */
export async function servedModel() {
  return (await (await ask("v1/models")).json()).data[0];
}

/** The server's health, whatever its status. Throws ServerError. */
export async function health() {
  return (await ask("health", {}, true)).json();
}

/** The body of a request to read a document; `url`: its data URI, or what stands for it in an example. */
export function bodyOf(document, url, model) {
  const { mode, layout, isPdf, name } = document;
  const part = isPdf
    ? { type: "file", file: { filename: name, file_data: url } }
    : { type: "image_url", image_url: { url } };
  const body = { model: model.id, messages: [{ role: "user", content: [part] }], mode, stream: true };
  const blocks = layout === "true" || (FIGURES.has(mode) && layout !== "false" && model.layout !== null);
  if (layout !== "auto") body.layout = layout === "true";
  if (blocks) body.images = "inline";
  return body;
}

/** Chunks of the streamed answer, as parsed JSON. Throws ServerError, AbortError. */
export async function* chunks(body, signal) {
  const ocr = { words: true, progress: true, page_images: true };
  const answer = await ask("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, ocr }),
    signal,
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new ServerError(0, error.message);
    });
    if (done) throw new ServerError(0, "The answer ended before its last part.");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(answer.status, chunk.error.message);
      yield chunk;
    }
  }
}

/** The answer to a request with this tab's key. Throws ServerError, AbortError. */
export async function ask(path, options = {}, anyStatus = false) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  const answer = await fetch(path, { ...options, headers }).catch((error) => {
    throw error.name === "AbortError" ? error : new ServerError(0, error.message);
  });
  if (answer.ok || anyStatus) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new ServerError(answer.status, said.error?.message ?? `${answer.status} ${answer.statusText}`);
}
