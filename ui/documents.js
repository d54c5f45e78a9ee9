// A document that is read: what was dropped, how far its reading is, and what came of it.

import { bodyOf, chunks } from "./server.js";

const PDF = "%PDF-";

export class Document extends EventTarget {
  /** `file`: what was dropped; `mode`, `layout`: how it is to be read. */
  constructor(file, mode, layout) {
    super();
    Object.assign(this, { file, mode, layout, name: file.name || "image", isPdf: false });
    this.clear();
  }

  clear() {
    this.state = "waiting"; // then sending, reading, and done, cut, stopped or failed
    this.error = null;
    this.content = "";
    this.report = null; // the answer's `ocr`, once it has ended
    this.progress = null;
    this.pages = []; // {page, width, height, angle, image}, as they begin
    this.blocks = []; // those of the pages that have begun
    this.readBlocks = new Set(); // their names
    this.stopping = null;
  }

  get isOpen() {
    return ["waiting", "sending", "reading"].includes(this.state);
  }

  /** Text pieces and steps become this document's; never throws. */
  async read(model) {
    this.clear();
    this.stopping = new AbortController();
    this.change("sending");
    try {
      this.isPdf = (await this.file.slice(0, 1024).text()).includes(PDF);
      const body = bodyOf(this, await dataUri(this.file), model);
      for await (const chunk of chunks(body, this.stopping.signal)) this.take(chunk.choices[0]);
    } catch (error) {
      this.error = error;
      this.change(error.name === "AbortError" ? "stopped" : "failed");
    }
  }

  stop() {
    if (this.stopping) this.stopping.abort();
    else this.change("stopped");
  }

  take(choice) {
    if (!choice) return;
    this.content += choice.delta.content ?? "";
    const { ocr } = choice;
    if (choice.finish_reason) {
      this.end(ocr, choice.finish_reason);
    } else {
      if (ocr) this.step(ocr);
      this.change("reading");
    }
  }

  step({ progress, page, blocks }) {
    this.progress = progress;
    if (page) this.pages.push(page);
    if (blocks) this.blocks.push(...blocks);
    if (!page && progress.block) this.readBlocks.add(`${progress.page}:${progress.block}`);
  }

  end(report, reason) {
    this.report = report;
    if (report.keep_chars !== null) this.content = [...this.content].slice(0, report.keep_chars).join("");
    if (report.blocks) this.blocks = report.blocks;
    for (const block of this.blocks) this.readBlocks.add(nameOf(block));
    this.change(reason === "length" ? "cut" : "done");
  }

  change(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }

  /** Everything that is known, as it is saved; images of pages apart. */
  asJson() {
    const pages = this.pages.map(({ image, ...facts }) => facts);
    return { name: this.name, state: this.state, content: this.content, ocr: this.report ?? { pages, blocks: this.blocks } };
  }
}

/** A name for a block that no other block of its document has. */
export function nameOf(block) {
  return `${block.page}:${block.order}`;
}

/** A file or blob as a data URI. */
export function dataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.replace(/^data:;/, "data:application/octet-stream;"));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
