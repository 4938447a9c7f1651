// What the reader has chosen, and who wants to know when it changes.

export class State {
  constructor(data) {
    this.data = data;
    this.listeners = [];
    this.run = 0;
    this.more = false;
    this.csf = data.runs[0].csfs[0].name;
    this.step = data.coverage;
    this.metric = "aurc";
    this.curveSet = 0;
    this.pinned = [];
    this.selected = [];
  }

  /** Call `listener` now and after every change of one of the keys. */
  watch(keys, listener) {
    this.listeners.push([keys, listener]);
    listener();
  }

  set(changes) {
    const changed = Object.keys(changes).filter((key) => this[key] !== changes[key]);
    if (!changed.length) return;
    Object.assign(this, changes);
    for (const [keys, listener] of this.listeners) {
      if (keys.some((key) => changed.includes(key))) listener();
    }
  }

  get currentRun() {
    return this.data.runs[this.run];
  }

  get currentCsf() {
    const csfs = this.currentRun.csfs;
    return csfs.find((csf) => csf.name === this.csf) || csfs[0];
  }

  /** Whether a score of that name is offered: the paper's are, the others on request. */
  offers(name) {
    return this.more || this.data.csfs[name].usual;
  }

  /** The scores of the run that are offered. */
  get offered() {
    return this.currentRun.csfs.filter((csf) => this.offers(csf.name));
  }

  /** Offer all scores, or the paper's only; the chosen one is always among the offered. */
  offerMore(more) {
    const fallback = this.currentRun.csfs.find((csf) => this.data.csfs[csf.name].usual).name;
    this.set({ more, csf: more || this.data.csfs[this.csf].usual ? this.csf : fallback });
  }

  /** Go to a run; keeps the score where the run has it. */
  goTo(run, csf = this.csf) {
    const names = this.data.runs[run].csfs.map((entry) => entry.name);
    const sets = this.data.runs[run].sets;
    const same = sets.findIndex((set) => set.name === this.currentRun.sets[this.curveSet]?.name);
    this.set({ run, csf: names.includes(csf) ? csf : names[0], curveSet: Math.max(same, 0), pinned: [], selected: [] });
  }

  /** The run of this study and seed that has the score: methods differ in their scores. */
  findRun(study, csf, seed) {
    const runs = this.data.runs;
    const fits = (run) => [run.study === study, run.csfs.some((c) => c.name === csf), run.seed === seed,
      run.method === this.currentRun.method];
    const value = (run) => fits(run).reduce((sum, fit, i) => sum + (fit ? 8 >> i : 0), 0);
    let best = 0;
    runs.forEach((run, i) => { if (value(run) > value(runs[best])) best = i; });
    return best;
  }
}
