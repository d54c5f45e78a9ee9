// The page on the left: its image, and the blocks drawn over it.

import { nameOf } from "./documents.js";
import { text } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";
const HUES = { title: 265, table: 150, formula: 30, image: 330, chart: 330, figure: 330, seal: 0, header: 200, footer: 200 };

/** Draw one page of a document into `sheet`; blocks that are read differ from those that wait. */
export function drawPage(sheet, document_, number) {
  const page = document_.pages.find((one) => one.page === number);
  if (!page) return sheet.replaceChildren();
  const key = `${number}/${document_.name}`;
  let image = sheet.querySelector("img");
  if (!image || sheet.dataset.key !== key || image.src !== page.image) {
    image = document.createElement("img");
    image.src = page.image;
    image.alt = text("pageOf", number, document_.progress.pages);
    image.width = page.width;
    image.height = page.height;
    sheet.dataset.key = key;
  }
  sheet.replaceChildren(image, overlay(document_, page));
}

function overlay(document_, page) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", `0 0 ${page.width} ${page.height}`);
  drawing.setAttribute("role", "group");
  const open = document_.isOpen && document_.blocks.find((block) => !document_.readBlocks.has(nameOf(block)));
  for (const block of document_.blocks) {
    if (block.page === page.page) drawing.append(drawn(block, block === open, document_.readBlocks.has(nameOf(block))));
  }
  for (const points of linesOf(document_, page.page)) {
    const polygon = document.createElementNS(SVG, "polygon");
    polygon.setAttribute("points", points.join(" "));
    polygon.setAttribute("class", "read");
    drawing.append(polygon);
  }
  return drawing;
}

function drawn(block, isOpen, isRead) {
  const group = document.createElementNS(SVG, "g");
  const name = text("blockName", block.label, block.order);
  group.dataset.block = nameOf(block);
  group.setAttribute("class", [isOpen && "open", isRead && "read", block.error && "failed"].filter(Boolean).join(" "));
  group.setAttribute("tabindex", "0");
  group.setAttribute("role", "button");
  group.setAttribute("aria-label", block.error ? `${name}: ${block.error}` : name);
  const kind = Object.keys(HUES).find((part) => block.label.includes(part));
  group.style.setProperty("--hue", HUES[kind] ?? 215);
  for (const [left, top, right, bottom] of block.parts ?? [block.box]) {
    const box = document.createElementNS(SVG, "rect");
    const sides = { x: left, y: top, width: right - left, height: bottom - top };
    for (const [side, value] of Object.entries(sides)) box.setAttribute(side, value);
    group.append(box);
  }
  const title = document.createElementNS(SVG, "title");
  title.textContent = name;
  group.append(title);
  return group;
}

/** Corners of the lines on a page, in the mode that finds them. */
function linesOf(document_, number) {
  if (document_.mode !== "spotting" || document_.isOpen) return [];
  try {
    const found = JSON.parse(document_.content);
    const lines = document_.pages.length > 1 ? found[number - 1] : found;
    return lines.map((line) => line.points);
  } catch {
    return []; // cut short
  }
}
