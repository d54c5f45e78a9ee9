// How a document may be read, as the two choices above the drop zone offer it.

import { text } from "./texts.js";

const MODES = ["document", "markdown", "table", "formula", "chart", "seal", "receipt", "invoice", "form", "spotting"];
const WITH_LAYOUT = ["document", "markdown"];

/** Fill the choices in the page's language; what was chosen stays. */
export function offerModes(mode, layout) {
  const chosen = [mode.value || "document", layout.value || "auto"];
  mode.replaceChildren(...MODES.map((one) => new Option(text(`mode.${one}`), one)));
  layout.replaceChildren(...["auto", "true", "false"].map((one) => new Option(text(`layout.${one}`), one)));
  [mode.value, layout.value] = chosen;
  layout.disabled = !WITH_LAYOUT.includes(mode.value);
}

/** What is chosen: `{mode, layout}`, the latter "auto" where it does not matter. */
export function chosenModes(mode, layout) {
  return { mode: mode.value, layout: WITH_LAYOUT.includes(mode.value) ? layout.value : "auto" };
}
