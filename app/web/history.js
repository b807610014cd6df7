// The last dozen pictures with their answers, kept in the tab.

import { isNumber } from "./api.js";
import { load, save } from "./storage.js";
import { wordsOf, wordsOfNumber } from "./words.js";

const LENGTH = 12;

/** Lists entries `{id, name, thumb, prediction | problem, …}`; `open(entry)` is called for a click. */
export class History {
  #entries = (load("history") ?? []).filter((entry) => entry?.id);
  #open;

  constructor(list, hint, open) {
    this.list = list;
    this.hint = hint;
    this.#open = open;
    this.#render();
  }

  /** Put an entry first; an earlier state of the same picture goes. */
  add(entry) {
    this.#entries = [entry, ...this.#entries.filter(({ id }) => id !== entry.id)].slice(0, LENGTH);
    save("history", this.#entries);
    this.#render();
  }

  #render() {
    this.hint.hidden = this.#entries.length > 0;
    this.list.replaceChildren(...this.#entries.map((entry) => this.#itemOf(entry)));
  }

  #itemOf(entry) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const image = document.createElement("img");
    const badge = document.createElement("span");
    const name = document.createElement("span");
    const { glyph, says, kind } = summary(entry);
    button.type = "button";
    button.className = `card ${kind}`;
    button.title = `${entry.name}: ${says}`;
    button.addEventListener("click", () => this.#open(entry));
    image.alt = "";
    if (entry.thumb) image.src = entry.thumb;
    name.className = "unseen";
    name.textContent = button.title;
    badge.className = "badge";
    badge.setAttribute("aria-hidden", "true");
    badge.textContent = glyph;
    button.append(entry.thumb ? image : kindOf(entry.name), name, badge);
    item.append(button);
    return item;
  }
}

/** Stands for a file that can't be shown: the end of its name. */
function kindOf(name) {
  const kind = document.createElement("span");
  kind.className = "kind";
  kind.setAttribute("aria-hidden", "true");
  kind.textContent = name.includes(".") ? name.split(".").pop().slice(0, 5) : "file";
  return kind;
}

function summary({ prediction, problem, number }) {
  if (problem) return { glyph: "!", says: problem.title, kind: "failed" };
  if (isNumber(number)) {
    const { headline, sure } = wordsOfNumber(number);
    const { text } = number;
    return { glyph: text.length > 4 ? `${text.slice(0, 3)}…` : text, says: `${headline}, ${sure}`, kind: "accepted" };
  }
  const { glyph, headline, sure } = wordsOf(prediction);
  return { glyph, says: `${headline}, ${sure}`, kind: prediction.rejected === null ? "accepted" : "rejected" };
}
