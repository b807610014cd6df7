// The service as its clients see it: requests relative to the page, and failures in plain words.

import { load } from "./storage.js";

const TIMEOUT_MS = 20_000;
const LARGE_BYTES = 8 * 2 ** 20; // refused while it is still being sent, a body ends in a broken connection

/** Statuses of what this server does not offer. */
const ABSENT = [404, 405, 501];

export const address = (path) => new URL(path, document.baseURI).href;

/** Failure of a request; `retryAfter` is in seconds, null where a repetition would fail alike. */
export class Problem extends Error {
  constructor({ title, detail = "", status = 0, retryAfter = null, offline = false }) {
    super(title);
    Object.assign(this, { title, detail, status, retryAfter, offline });
  }
}

/** The answer to one picture: `{model, prediction}`. Rejects with a Problem, or as `signal` aborts. */
export async function predict(input, signal) {
  const answer = await post("predict?include=seen", input, signal);
  const prediction = answer?.predictions?.[0];
  if (!Array.isArray(prediction?.probabilities)) throw foreign(200, "JSON of another kind");
  return { model: answer.model, prediction };
}

let readsNumbers = true; // until the server says that it does not

/** Whether a number was read: of one that was rejected only the correction is of use. */
export const isNumber = (number) => isText(number?.text) && number.digits?.length > 1 && !number.rejected;

/** What the server reads as a number, `{text, confidence, digits, rejected}`; null where it does not. */
export async function readNumber(input) {
  if (!readsNumbers) return null;
  try {
    return (await post("read", input))?.numbers?.[0] ?? null;
  } catch (problem) {
    if (ABSENT.includes(problem.status)) readsNumbers = false;
    return null;
  }
}

/**
 * Tell the server what the picture of the answer `id` shows: a digit's `label`, null for no digit, or
 * a number's `text`. Rejects with a Problem.
 */
export async function correct(id, shows) {
  const body = JSON.stringify({ id, ...shows });
  return post("feedback", { body, type: "application/json" });
}

async function post(path, { body, type, name }, signal = new AbortController().signal) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const key = load("key");
  const headers = { accept: "application/json", ...(key && { authorization: `Bearer ${key}` }) };
  if (body instanceof File) {
    const form = new FormData();
    form.append("file", body, name);
    body = form;
  } else {
    headers["content-type"] = type;
  }
  try {
    const response = await fetch(address(path), {
      method: "POST", body, headers, cache: "no-store", signal: AbortSignal.any([signal, timeout]),
    });
    const text = await response.text();
    const answer = parsed(text);
    if (!response.ok) throw problemOf(response, answer);
    if (answer === undefined && text) throw foreign(response.status, response.headers.get("content-type"));
    return answer;
  } catch (error) {
    if (error instanceof Problem || signal.aborted) throw error;
    if (timeout.aborted) throw timedOut();
    throw unreachable(body);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const BY_STATUS = {
  401: ["An API key is needed", "Give the key that the operator of this server gave you."],
  403: ["The API key is not accepted", "Ask the operator of this server for a key that is."],
  404: ["Not found", "This address has no such service; is the page served by Digits itself?"],
  408: ["The picture took too long to arrive", "Try again, or with a smaller picture."],
  413: ["The picture is too large", "A digit needs some 100 pixels; crop the photo or make it smaller."],
  429: ["Too many requests", "The server asks for a pause."],
  502: ["The service behind the proxy does not answer", "It may be starting."],
  503: ["The server is busy", "It asks for a pause."],
  504: ["The server took too long", "It may be busy."],
};

/** Words for a refusal; only strings that are there are used, whoever wrote the body. */
function problemOf(response, answer) {
  const { status } = response;
  const [title, detail] = BY_STATUS[status] ?? ["The server could not read that", `It answered with status ${status}.`];
  const says = [answer?.detail, answer?.message, answer?.error?.message, answer?.error].find(isText);
  return new Problem({
    title: isText(answer?.title) ? answer.title : title,
    detail: says ? unnumbered(says) : detail,
    status,
    retryAfter: [429, 502, 503].includes(status) ? pauseSeconds(response.headers.get("retry-after")) : null,
  });
}

const isText = (value) => typeof value === "string" && value.trim() !== "";

/** A detail without "Image 0: ", which says nothing where there is one picture. */
const unnumbered = (detail) => detail.replace(/^Image 0: /, "").slice(0, 400);

/** Seconds to wait by a Retry-After in seconds or as a date; NaN where there is none. */
export function pauseSeconds(header) {
  if (!header?.trim()) return NaN;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.min(Math.max(seconds, 0), 600);
  const until = Date.parse(header);
  return Number.isNaN(until) ? NaN : Math.min(Math.max((until - Date.now()) / 1000, 0), 600);
}

const foreign = (status, what) => new Problem({
  title: "Something else answered",
  detail: `Between this page and the service, something answered in its place (status ${status}, ${what ?? "no type"}). Signing in to the network, or reloading the page, may help.`,
  status,
});

const timedOut = () => new Problem({
  title: "No answer in time",
  detail: `The server did not answer within ${TIMEOUT_MS / 1000} seconds. Try again in a moment.`,
});

function unreachable(body) {
  const size = body instanceof FormData ? body.get("file").size : 0;
  if (navigator.onLine && size > LARGE_BYTES) {
    return new Problem({
      title: "The picture is too large",
      detail: `The server ended the connection while ${Math.round(size / 1e6)} MB were being sent. A digit needs some 100 pixels: crop the photo or make it smaller.`,
    });
  }
  const offline = !navigator.onLine;
  return new Problem({
    title: offline ? "You are offline" : "The server can't be reached",
    detail: offline
      ? "Your picture is kept, and read as soon as the connection is back."
      : "Your picture is kept, and read as soon as the server answers.",
    retryAfter: NaN,
    offline,
  });
}
