// The answer on the screen: digit, words and bars, or in their place what went wrong.

import { figureOf, percent, stepsOf, wordsOf, wordsOfNumber } from "./words.js";

const at = (id) => document.getElementById(id);

export class AnswerView {
  #root = at("answer");
  #bars = Array.from({ length: 10 }, (_, digit) => barOf(digit));

  constructor() {
    at("bars").append(...this.#bars.map(({ row }) => row));
    this.empty();
  }

  empty() {
    this.#enter("empty");
    this.#write({ glyph: "–", headline: "Draw a digit", sure: "", advice: "From 0 to 9. The answer follows your pen." });
    this.#fill(Array(10).fill(0), null);
    this.#explain(null);
    at("spoken").textContent = "";
  }

  /** What is shown belongs to an older picture. */
  stale() {
    this.#root.setAttribute("aria-busy", "true");
  }

  /**
   * Show a prediction; `size` is that of the picture. Until it is finished nothing is read out, and
   * no advice is given: text of changing length would move the pad under the pen.
   */
  show(prediction, size, isFinished) {
    const words = wordsOf(prediction);
    if (!isFinished) words.advice = "";
    this.#enter(prediction.rejected === null ? "accepted" : "rejected", isFinished);
    this.#write(words);
    this.#fill(prediction.probabilities, prediction.label);
    this.#explain(prediction.seen, size);
    if (isFinished) at("spoken").textContent = [words.headline, words.sure, words.advice].filter(Boolean).join(". ");
  }

  /**
   * Show the number that several digits make, in place of what they are as one digit. The bars are
   * those of one of its digits, at first of the least sure; `choose` is told which, from 0.
   */
  showNumber({ text, confidence, digits }, choose) {
    const words = wordsOfNumber({ text, confidence });
    this.#enter("number", true);
    this.#write(words);
    at("label").style.fontSize = `${Math.min(58, 125 / text.length)}cqw`;
    const buttons = digits.map(({ label, confidence: share }) =>
      Object.assign(document.createElement("button"), { type: "button", textContent: label, title: percent(share) }));
    const show = (place) => {
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === place)));
      this.#fill(digits[place].probabilities, digits[place].label);
      choose(place);
    };
    buttons.forEach((button, place) => button.addEventListener("click", () => show(place)));
    at("digits").replaceChildren(...buttons);
    at("digits").hidden = false;
    const shares = digits.map((digit) => digit.confidence);
    show(shares.indexOf(Math.min(...shares)));
    at("spoken").textContent = `${words.headline}. ${words.sure}.`;
  }

  /** Say what went wrong and offer what there is to do. */
  fail({ title, detail, status }) {
    this.#enter("failed", true);
    const isDoor = status === 401 || status === 403;
    this.#notice(title, detail, { isDoor, retry: !isDoor && (status === 0 || status >= 500) ? "Try again" : "" });
    at("spoken").textContent = `${title}. ${detail}`;
  }

  /** Say what is waited for, and for how long. */
  wait({ title, detail, offline }, seconds) {
    if (this.#root.dataset.state !== "waiting") at("spoken").textContent = `${title}. ${detail}`;
    this.#enter("waiting");
    const countdown = offline ? "" : ` Trying again in ${seconds} s.`;
    this.#notice(title, `${detail}${countdown}`, { isDoor: false, retry: "Try now" });
  }

  #enter(state, isFinished = false) {
    const isNotice = state === "failed" || state === "waiting";
    this.#root.dataset.state = state;
    this.#root.dataset.finished = String(isFinished);
    this.#root.setAttribute("aria-busy", String(state === "waiting"));
    at("notice").hidden = !isNotice;
    at("reading").inert = isNotice;
    at("digits").hidden = true;
    if (isNotice) this.#explain(null);
  }

  #write({ glyph, headline, sure, advice }) {
    at("label").textContent = glyph;
    at("label").style.fontSize = "";
    at("headline").textContent = headline;
    at("sure").textContent = sure;
    at("advice").textContent = advice;
  }

  #notice(title, detail, { isDoor, retry }) {
    at("notice-title").textContent = title;
    at("notice-detail").textContent = detail;
    at("door").hidden = !isDoor;
    at("retry").hidden = !retry;
    at("retry").textContent = retry;
  }

  #fill(probabilities, label) {
    probabilities.forEach((share, digit) => {
      const { row, bar, figure } = this.#bars[digit];
      bar.style.transform = `scaleY(${share})`;
      figure.textContent = figureOf(share);
      row.classList.toggle("best", digit === label);
      row.classList.toggle("none", share < 0.005);
    });
  }

  #explain(seen, size) {
    const image = at("seen");
    image.hidden = !seen;
    if (seen) image.src = seen.image;
    image.alt = seen ? "The 28 by 28 pixels that the model saw" : "";
    const steps = seen ? stepsOf(seen, size) : ["The picture in the 28 × 28 pixels that the model gets."];
    at("done").replaceChildren(...steps.map((step) => Object.assign(document.createElement("li"), { textContent: step })));
  }
}

function barOf(digit) {
  const [row, figure, track, bar, name] = ["li", "span", "span", "span", "span"].map((tag) => document.createElement(tag));
  figure.className = "figure";
  track.className = "track";
  bar.className = "bar";
  name.className = "name";
  name.textContent = String(digit);
  track.setAttribute("aria-hidden", "true");
  track.append(bar);
  row.append(name, track, figure); // the digit first, as it is read out
  return { row, bar, figure };
}
