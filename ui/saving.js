// What a reader takes along: files, and the request as code.

import { bodyOf, key } from "./server.js";

const FIGURE = /data:image\/(png|jpeg|webp);base64,([A-Za-z0-9+/=]+)/g;

export function saveMarkdown(document_) {
  save(`${stem(document_)}.md`, document_.content + "\n", "text/markdown");
}

export function saveJson(document_) {
  save(`${stem(document_)}.json`, jsonOf(document_), "application/json");
}

/** The Markdown with its figures as files of their own, the JSON, and the pages. */
export function saveZip(document_) {
  const files = { [`${stem(document_)}.json`]: fflate.strToU8(jsonOf(document_)) };
  let count = 0;
  const linked = document_.content.replace(FIGURE, (_, type, data) => {
    const name = `images/figure-${++count}.${type}`;
    files[name] = bytes(data);
    return name;
  });
  files[`${stem(document_)}.md`] = fflate.strToU8(linked + "\n");
  for (const page of document_.pages) files[`pages/page-${page.page}.jpg`] = bytes(page.image.split(",")[1]);
  save(`${stem(document_)}.zip`, fflate.zipSync(files, { level: 1 }), "application/zip");
}

/** The request as a command for a shell. */
export function asCurl(document_, model) {
  const mime = document_.file.type || "application/octet-stream";
  const body = bodyOf(document_, `data:${mime};base64,$(base64 -w0 "$FILE")`, model);
  if (document_.isPdf) body.messages[0].content[0].file.filename = "document.pdf"; // the shell would expand its signs
  const quoted = JSON.stringify(body, null, 2).replace('\\"$FILE\\"', '"$FILE"');
  const auth = key() ? ` -H "Authorization: Bearer $API_KEY"` : "";
  return [
    `FILE='${document_.name.replaceAll("'", "'\\''")}'`,
    `curl -N ${address("v1/chat/completions")} -H 'Content-Type: application/json'${auth} -d @- <<EOF`,
    quoted,
    "EOF",
  ].join("\n");
}

/** The request as Python, for OpenAI's client. */
export function asPython(document_, model) {
  const { messages, stream, model: name, ...extra } = bodyOf(document_, "URL", model);
  const mime = document_.file.type || "application/octet-stream";
  const python = (value) => JSON.stringify(value).replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False");
  return `import base64
${key() ? "import os\n" : ""}from openai import OpenAI

data = base64.b64encode(open(${JSON.stringify(document_.name)}, "rb").read()).decode()
client = OpenAI(base_url=${JSON.stringify(address("v1"))}, api_key=${key() ? 'os.environ["API_KEY"]' : '"none"'})
stream = client.chat.completions.create(
    model=${JSON.stringify(name)},
    messages=${python(messages).replace('"URL"', `f"data:${mime};base64,{data}"`)},
    extra_body=${python(extra)},
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)`;
}

function address(path) {
  return new URL(path, document.baseURI).href;
}

function jsonOf(document_) {
  return JSON.stringify(document_.asJson(), null, 2) + "\n";
}

function stem(document_) {
  return document_.name.replace(/\.[^.]*$/, "") || "document";
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Hand a file to the reader. */
export function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
