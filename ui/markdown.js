// Markdown -> elements. What the model writes is not trusted: everything passes DOMPurify, and nothing is fetched.

const TAGS = (
  "a b blockquote br caption code col colgroup dd del div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img li " +
  "ol p pre s span strong sub sup table tbody td tfoot th thead tr u ul"
).split(" ");
const ATTRIBUTES = ["align", "alt", "colspan", "data-math", "href", "rowspan", "src", "start"];

const INLINE = /^\$(?![\s$])((?:\\.|[^\\$\n])+?)(?<!\s)\$(?!\d)/;
const DISPLAY = /^\$\$((?:\\.|[^\\$])+?)\$\$/;

function math(name, level, pattern) {
  return {
    name,
    level,
    start: level === "inline" ? (source) => source.match(/\$/)?.index : undefined,
    tokenizer(source) {
      const found = pattern.exec(source);
      return found ? { type: name, raw: found[0], text: found[1].trim() } : undefined;
    },
    renderer: ({ text }) => `<span data-math="${pattern === DISPLAY ? "display" : "inline"}">${escaped(text)}</span>`,
  };
}

const parser = new marked.Marked({
  gfm: true,
  extensions: [
    math("mathBlock", "block", DISPLAY),
    math("mathDisplay", "inline", DISPLAY),
    math("mathInline", "inline", INLINE),
  ],
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "IMG" && !/^data:image\/(png|jpeg|webp);base64,/.test(node.getAttribute("src") ?? "")) node.remove();
  if (node.tagName === "A") {
    if (!/^https?:\/\//i.test(node.getAttribute("href") ?? "")) node.removeAttribute("href");
    node.setAttribute("rel", "noopener noreferrer");
    node.setAttribute("target", "_blank");
  }
});

function escaped(text) {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/**
 * Elements of a Markdown text, one for each of its outer parts, each with the part's place in the text: `start` and `end`
 * in characters, as code points, in its data.
 */
export function rendered(source) {
  const parts = [];
  const tokens = parser.lexer(source);
  let place = 0;
  for (const token of tokens) {
    const length = [...token.raw].length;
    if (token.type !== "space" && token.type !== "def") {
      const part = document.createElement("div");
      part.className = "part";
      Object.assign(part.dataset, { start: place, end: place + length });
      const one = Object.assign([token], { links: tokens.links });
      part.append(safe(parser.parser(one)));
      parts.push(part);
    }
    place += length;
  }
  return parts;
}

function safe(html) {
  const fragment = DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const formula of fragment.querySelectorAll("[data-math]")) {
    const displayMode = formula.dataset.math === "display";
    const tex = formula.textContent;
    katex.render(tex, formula, { displayMode, throwOnError: false, trust: false, strict: "ignore", maxSize: 20, maxExpand: 200 });
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = document.createElement("div"); // wide tables scroll in it
    frame.className = "wide";
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}
