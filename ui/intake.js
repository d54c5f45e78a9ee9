// Files that are dropped, pasted, chosen or photographed.

/** Call `take` with the files that come; `drop`: where they are dropped, as anywhere on the page, and shown so. */
export function filesFrom({ drop, choosers }, take) {
  const body = document.documentElement;
  const mark = (on) => drop.classList.toggle("over", on);
  body.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  body.addEventListener("dragleave", (event) => mark(event.relatedTarget !== null));
  body.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take([...event.clipboardData.files]);
  });
  for (const chooser of choosers) {
    chooser.addEventListener("change", () => {
      take([...chooser.files]);
      chooser.value = ""; // the same file may be chosen again
    });
  }
}
