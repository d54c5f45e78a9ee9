// The dialog that asks for a key.

import { key, useKey } from "./server.js";

const $ = (id) => document.getElementById(id);

export function askForKey() {
  $("key").value = key();
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

/** Call `saved` whenever a key was given. */
export function keysTo(saved) {
  $("key-open").addEventListener("click", askForKey);
  $("key-dialog").addEventListener("close", () => {
    if ($("key-dialog").returnValue !== "save") return;
    useKey($("key").value.trim());
    saved();
  });
}
