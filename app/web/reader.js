// Sends what is to be read: the newest picture wins, and what a busy server asks for is waited for.

import { Problem, predict } from "./api.js";

const LONGEST_PAUSE_SECONDS = 30;

/** Waits that can be cut short: by the button, by the network coming back, or by giving up. */
export class Pause {
  #end = () => {};

  get isOn() {
    return this.#end.isOn === true;
  }

  /** Resolve after `seconds`; `tick` is called with the whole seconds that are left. */
  wait(seconds, tick) {
    return new Promise((resolve) => {
      const until = performance.now() + seconds * 1000;
      const beat = () => {
        const left = Math.ceil((until - performance.now()) / 1000);
        if (left <= 0) this.#end();
        else tick(left);
      };
      const timer = setInterval(beat, 200);
      this.#end = () => {
        clearInterval(timer);
        removeEventListener("online", this.#end);
        this.#end = () => {};
        resolve();
      };
      this.#end.isOn = true;
      addEventListener("online", this.#end);
      beat();
    });
  }

  end() {
    this.#end();
  }
}

/** Seconds until attempt `count` + 1: what the server asked for, else twice as long each time. */
export function pauseBefore(problem, count) {
  const backoff = Math.min(2 ** count, LONGEST_PAUSE_SECONDS);
  return Number.isNaN(problem.retryAfter) ? backoff : Math.max(problem.retryAfter, 1);
}

/**
 * Reads the drawing while it grows. At most one request is under way: a picture that comes
 * meanwhile is sent after it, a finished one at once, in its place. A picture is given as a
 * function, so that only pictures that are sent are encoded.
 */
export class Reader {
  #next = null;
  #isRunning = false;
  #controller = new AbortController();
  #pause;

  /** `view` has show(input, answer, isFinished), fail(input, problem) and wait(problem, seconds). */
  constructor(view, pause) {
    this.view = view;
    this.#pause = pause;
  }

  read(encode, isFinished) {
    this.#next = { encode, isFinished };
    if (!this.#isRunning) this.#run();
    else if (isFinished && !this.#pause.isOn) this.#controller.abort();
  }

  /** Forget what is under way. */
  cancel() {
    this.#next = null;
    this.#controller.abort();
    this.#pause.end();
  }

  async #run() {
    this.#isRunning = true;
    try {
      await this.#sendAll();
    } finally {
      this.#isRunning = false;
    }
  }

  async #sendAll() {
    let failures = 0;
    while (this.#next) {
      const current = this.#next;
      this.#next = null;
      this.#controller = new AbortController();
      const { signal } = this.#controller;
      const input = current.encode();
      try {
        const answer = await predict(input, signal);
        if (!signal.aborted) this.view.show(input, answer, current.isFinished);
        failures = 0;
      } catch (problem) {
        if (signal.aborted) continue;
        if (!(problem instanceof Problem)) throw problem;
        if (problem.retryAfter === null) {
          this.view.fail(input, problem);
          continue;
        }
        this.#next ??= current;
        await this.#pause.wait(pauseBefore(problem, failures), (left) => this.view.wait(problem, left));
        failures += 1;
      }
    }
  }
}

/** Answer to one file of several, however often the server asks for a pause. */
export async function patiently(input, signal, pause, tick) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await predict(input, signal);
    } catch (problem) {
      if (signal.aborted || !(problem instanceof Problem) || problem.retryAfter === null) throw problem;
      await pause.wait(pauseBefore(problem, failures), (left) => tick(problem, left));
    }
  }
}
