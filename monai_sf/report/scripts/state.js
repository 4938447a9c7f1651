// The reader's choices, and the listeners to their changes.

import { isPromised, PROMISED } from "./counts.js";

/**
 * @import { Payload, Run } from "./payload.js"
 * @import { Pictures } from "./pictures.js"
 */

/**
 * @typedef {object} Page The objects shared by all parts of the page.
 * @property {Payload} data
 * @property {State} state
 * @property {Pictures} pictures
 * @property {(point: number) => void} showOnMap
 *
 * @typedef {Pick<State, "run" | "more" | "csf" | "step" | "metric" | "curveSet" | "pinned" | "selected" | "theme">} Choices
 */

export class State {
  /** @param {Payload} data */
  constructor(data) {
    this.data = data;
    /** @type {[(keyof Choices)[], () => void][]} */
    this.listeners = [];
    this.run = 0;
    this.more = false;
    this.csf = data.runs[0].csfs[0].name;
    /** @type {number | null} The working point that the reader chose. */
    this.moved = null;
    this.metric = "aurc";
    this.curveSet = 0;
    /** @type {number[]} */
    this.pinned = [];
    /** @type {number[]} */
    this.selected = [];
    /** @type {string | null} */
    this.theme = null;
  }

  /**
   * Call `listener` now and after every change of one of the keys.
   *
   * @param {(keyof Choices)[]} keys
   * @param {() => void} listener
   */
  watch(keys, listener) {
    this.listeners.push([keys, listener]);
    listener();
  }

  /** Change choices; the working point may follow from the score. @param {Partial<Choices>} changes */
  set(changes) {
    const keys = /** @type {(keyof Choices)[]} */ ([...new Set([...Object.keys(changes), "step"])]);
    const before = keys.map((key) => this[key]);
    Object.assign(this, changes);
    const changed = keys.filter((key, i) => this[key] !== before[i]);
    for (const [watched, listener] of this.listeners) {
      if (watched.some((key) => changed.includes(key))) listener();
    }
  }

  /** Return the working point: the reader's, else that of the promised threshold, else the report's. */
  get step() {
    return this.moved ?? (this.hasPromise ? PROMISED : this.data.coverage);
  }

  set step(step) {
    this.moved = step === PROMISED ? null : step;
  }

  /** Return whether the chosen score has a promised threshold. */
  get hasPromise() {
    return isPromised(this.currentCsf);
  }

  get currentRun() {
    return this.data.runs[this.run];
  }

  get currentCsf() {
    const csfs = this.currentRun.csfs;
    return csfs.find((csf) => csf.name === this.csf) || csfs[0];
  }

  /**
   * Return whether a score is offered: the usual ones and the chosen one always, the others on request.
   *
   * @param {string} name
   */
  offers(name) {
    return this.more || this.data.csfs[name].usual || name === this.csf;
  }

  /** Return the scores of the run that are offered. */
  get offered() {
    return this.currentRun.csfs.filter((csf) => this.offers(csf.name));
  }

  /**
   * Offer all scores, or only the usual ones; if the run has no usual score, the chosen one remains.
   *
   * @param {boolean} more
   */
  offerMore(more) {
    const first = this.currentRun.csfs.find((csf) => this.data.csfs[csf.name].usual)?.name ?? this.csf;
    this.set({ more, csf: more || this.data.csfs[this.csf].usual ? this.csf : first });
  }

  /** Go to a run, and keep the score if the run has it. @param {number} run @param {string} [csf] */
  goTo(run, csf = this.csf) {
    const names = this.data.runs[run].csfs.map((entry) => entry.name);
    const sets = this.data.runs[run].sets;
    const same = sets.findIndex((set) => set.name === this.currentRun.sets[this.curveSet]?.name);
    this.set({ run, csf: names.includes(csf) ? csf : names[0], curveSet: Math.max(same, 0), pinned: [], selected: [] });
  }

  /**
   * Return the run of this study and seed that has the score: methods differ in their scores.
   *
   * @param {string} study
   * @param {string} csf
   * @param {number} seed
   */
  findRun(study, csf, seed) {
    const runs = this.data.runs;
    /** @param {Run} run */
    const value = (run) => [run.study === study, run.csfs.some((c) => c.name === csf), run.seed === seed,
      run.method === this.currentRun.method].reduce((sum, fits, i) => sum + (fits ? 8 >> i : 0), 0);
    let best = 0;
    runs.forEach((run, i) => { if (value(run) > value(runs[best])) best = i; });
    return best;
  }
}
