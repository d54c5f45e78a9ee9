// Doubtful words: the report's words with their confidence, found again in what is shown.

const CERTAIN = 0.95; // words from here on are not marked
const LEVELS = [[0.5, "low"], [0.8, "middle"], [CERTAIN, "high"]];
const AHEAD = 200; // words of the transcript that may be missing in the text, such as those of headers
const TAG = /<\/?[a-z]+>|<\|LOC_\d+\|>/g; // cells of tables and places, in the transcript

/** Mark the doubtful words in `element`; `lines`: the report's; `title`: probability -> text. */
export function markDoubtful(element, lines, title) {
  const words = lines.flatMap((line) => line.words).flatMap(split);
  if (words.every((word) => word.confidence >= CERTAIN)) return;
  let next = 0;
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement.closest(".katex") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT,
  );
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  for (const node of nodes) {
    const pieces = [];
    let end = 0;
    for (const found of node.data.matchAll(/\S+/g)) {
      const at = words.slice(next, next + AHEAD).findIndex((word) => word.text === plain(found[0]));
      if (at < 0) continue;
      const { confidence } = words[next + at];
      next += at + 1;
      if (confidence >= CERTAIN) continue;
      pieces.push(node.data.slice(end, found.index), markOf(found[0], confidence, title));
      end = found.index + found[0].length;
    }
    if (pieces.length) node.replaceWith(...pieces, node.data.slice(end));
  }
}

/** The level of a probability, "" where it is certain. */
export function levelOf(confidence) {
  return LEVELS.find(([bound]) => confidence < bound)?.[1] ?? "";
}

function split(word) {
  const parts = word.text.split(TAG).map(plain).filter(Boolean);
  return parts.map((text) => ({ text, confidence: word.confidence }));
}

function plain(text) {
  return text.replace(/[\\*_#`|$]/g, "");
}

function markOf(word, confidence, title) {
  const mark = document.createElement("mark");
  mark.className = levelOf(confidence);
  mark.title = title(confidence);
  mark.textContent = word;
  return mark;
}
