// Uploading a catalogue and choosing its columns: a file that is too large is told before it is sent, and what a column
// holds is shown as soon as it is chosen. The pages work without it.
"use strict";

function showSamples(choice) {
  const column = document.querySelector(`[data-column="${CSS.escape(choice.value)}"]`);
  const said = choice.parentElement.querySelector("[data-column-samples]");
  said.hidden = !column;
  said.firstElementChild.textContent = column ? column.textContent.trim() : "";
}

function checkSize(field) {
  const most = Number(field.dataset.mostBytes);
  const [file] = field.files;
  const words = file && file.size > most ? `This file has ${Math.ceil(file.size / 1e5) / 10} MB; at most ${most / 1e6} MB can be uploaded. Compress it with gzip, or split it.` : "";
  const said = document.getElementById("error-file");
  said.querySelector("[data-error]").textContent = words;
  said.hidden = !words;
  field.setAttribute("aria-invalid", words ? "true" : "false");
  field.setCustomValidity(words);
}

for (const choice of document.querySelectorAll("[data-column-choice]")) {
  choice.addEventListener("change", () => showSamples(choice));
  showSamples(choice); // the browser may have brought back what was chosen before
}
for (const field of document.querySelectorAll("[data-most-bytes]")) field.addEventListener("change", () => checkSize(field));
