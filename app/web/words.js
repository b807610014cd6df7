// What an answer says, in words: how sure, why it is rejected and what to do about it.

const NAMES = ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"];
const DEGREES = [[0.98, "Almost certain"], [0.9, "Very likely"], [0.7, "Likely"], [0, "Perhaps"]];
const LIKELY_ENOUGH = 0.1; // a candidate below is not worth a word

const REJECTIONS = {
  blank: {
    headline: "Nothing to read",
    advice: () => "Draw a digit, or take the photo closer and in more light.",
  },
  not_a_digit: {
    headline: "Not a digit",
    advice: () => "If it is one, write it plainer: one digit at a time, with nothing around it.",
  },
  several_digits: {
    headline: "More than one digit",
    advice: () => "One digit at a time: draw or crop so that only one is left.",
  },
  uncertain: {
    headline: "Not sure",
    advice: (prediction) => `${candidates(prediction)} Draw it larger and plainer.`,
  },
};
const REMEDIES = {
  "low-contrast": "Little contrast: take a thicker pen or more light.",
  "touches-edge": "The ink touches the edge: leave a margin.",
};

/** 0.99873 is "99.87%"; rounded down there, for what is not certain is not 100%. */
export function percent(share) {
  if (share >= 0.99) return `${Math.min(Math.floor(share * 1e4) / 100, 99.99).toFixed(2)}%`;
  return `${(100 * share).toFixed(1)}%`;
}

/** A bar's figure; only what is certain is 100%, and only what is nothing is 0. */
export function figureOf(share) {
  if (share >= 0.995 && share < 1) return ">99%";
  if (share > 0.0005 && share < 0.005) return "<1%";
  const whole = Math.round(100 * share);
  return whole === 0 ? "0" : `${whole}%`;
}

function candidates({ probabilities }) {
  const [first, second] = probabilities
    .map((share, digit) => ({ share, digit }))
    .sort((a, b) => b.share - a.share)
    .filter(({ share }, rank) => rank === 0 || share >= LIKELY_ENOUGH);
  const named = ({ share, digit }) => `${digit === 8 ? "an" : "a"} ${digit} (${Math.round(100 * share)}%)`;
  return `Perhaps ${named(first)}${second ? ` or ${named(second)}` : ""}.`;
}

/** `{glyph, headline, sure, advice}` of a prediction; the first remedy only, so that it fits its place. */
export function wordsOf(prediction) {
  const { label, confidence, rejected, seen } = prediction;
  const remedies = (seen?.warnings ?? []).map((slug) => REMEDIES[slug]).filter(Boolean);
  if (rejected === null) {
    const sure = `${degreeOf(confidence)}, ${percent(confidence)}`;
    return { glyph: String(label), headline: NAMES[label], sure, advice: remedies[0] ?? "" };
  }
  const known = REJECTIONS[rejected] ?? { headline: "Not to be used", advice: () => `The server rejects it as “${rejected}”.` };
  return {
    glyph: rejected === "blank" ? "–" : "?",
    headline: known.headline,
    sure: "Rejected",
    advice: [known.advice(prediction), ...remedies.slice(0, 1)].join(" "),
  };
}

const degreeOf = (confidence) => DEGREES.find(([least]) => confidence >= least)[1];

/** `{glyph, headline, sure, advice}` of a number of several digits. */
export function wordsOfNumber({ text, confidence }) {
  return {
    glyph: text,
    headline: `Number ${text}`,
    sure: `${degreeOf(confidence)}, ${percent(confidence)}`,
    advice: "",
  };
}

/** What was done to the picture, a sentence each. */
export function stepsOf({ inverted, box, warnings }, { image, width, height }) {
  if (!box) return ["No ink was found in it."];
  const [left, top, right, bottom] = box;
  const whole = image === null ? "" : ` of ${width} × ${height}`; // unknown where it can't be shown
  const steps = [
    inverted ? "Dark ink on a light ground: turned to white on black." : "Light ink on a dark ground: taken as it is.",
    `Ink found in ${right - left} × ${bottom - top}${whole} pixels, and cut out.`,
    "Brought to 20 pixels, centred by its weight in 28 × 28.",
  ];
  const notes = { "frame-removed": "A frame around it was taken away.", ...REMEDIES };
  return [...steps, ...warnings.map((slug) => notes[slug] ?? `Note: ${slug.replaceAll("-", " ")}.`)];
}
