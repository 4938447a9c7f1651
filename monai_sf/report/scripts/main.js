// Assembly of the page.

import { setUpConcepts } from "./concepts.js";
import { setUpCurves } from "./curves.js";
import { setUpDisagreement } from "./disagreement.js";
import { PROMISED, shareDecided } from "./counts.js";
import { breath, byId, el, fill, parsed } from "./elements.js";
import { setUpGallery } from "./gallery.js";
import { setUpGroups } from "./groups.js";
import { setUpHandling } from "./handling.js";
import { latentMap } from "./latent.js";
import { darkScheme, setColours, setPrinting, theme } from "./look.js";
import { percent } from "./numbers.js";
import { readPayload } from "./payload.js";
import { Pictures } from "./pictures.js";
import { drawPlots } from "./plots.js";
import { setUpProbabilities } from "./probabilities.js";
import { setUpPromise } from "./promise.js";
import { setUpProvenance } from "./provenance.js";
import { setUpSelection } from "./selection.js";
import { State } from "./state.js";
import { setUpSummary } from "./summary.js";
import { setUpSweep } from "./sweep.js";
import { setUpBenchmark, setUpCounts, setUpIntervals } from "./tables.js";

/**
 * @import { LatentMap } from "./latent.js"
 * @import { Page } from "./state.js"
 */

/** @param {Page} page */
function setUpControls({ state, data }) {
  const [study, seed, score] = [byId("study", HTMLSelectElement), byId("seed", HTMLSelectElement), byId("csf", HTMLSelectElement)];
  const slider = byId("coverage", HTMLInputElement);
  const studies = [...new Map(data.runs.map((run) => [run.study, run.studyTitle]))];
  study.append(...studies.map(([value, title]) => el("option", { value }, title)));
  /** @param {string} wantedStudy @param {string} csf @param {number} wantedSeed */
  const go = (wantedStudy, csf, wantedSeed) => state.goTo(state.findRun(wantedStudy, csf, wantedSeed), csf);
  study.addEventListener("change", () => go(study.value, state.csf, state.currentRun.seed));
  score.addEventListener("change", () => go(study.value, score.value, state.currentRun.seed));
  seed.addEventListener("change", () => state.goTo(Number(seed.value)));
  const more = byId("more-scores", HTMLInputElement);
  byId("more-scores-box").hidden = Object.values(data.csfs).every((csf) => csf.usual);
  more.addEventListener("change", () => state.offerMore(more.checked));
  slider.addEventListener("input", () => state.set({ step: Number(slider.value) }));
  state.watch(["run", "csf", "more"], () => {
    const run = state.currentRun;
    study.value = run.study;
    const names = Object.keys(data.csfs).filter((name) => state.offers(name) && data.runs.some((r) => r.study === run.study && r.csfs.some((c) => c.name === name)));
    const groups = [...new Set(names.map((name) => data.csfs[name].group))];
    score.replaceChildren(...groups.map((group) => el("optgroup", { label: group },
      names.filter((name) => data.csfs[name].group === group).map((name) => el("option", { value: name }, name)))));
    score.value = state.csf;
    const alike = data.runs.map((r, i) => ({ r, i })).filter(({ r }) => r.study === run.study && r.csfs.some((c) => c.name === state.csf));
    byId("seed-box").hidden = alike.length < 2;
    seed.replaceChildren(...alike.map(({ r, i }) => el("option", { value: i }, r.title)));
    seed.value = String(state.run);
    fill("csf-text", el("b", {}, state.csf), `: ${data.csfs[state.csf].description}`);
  });
  state.watch(["step", "run", "csf"], () => {
    const reference = state.currentRun.sets[0];
    const base = reference.kind === "iid" ? "ordinary cases" : `“${reference.title}”`;
    const share = shareDecided(state.currentRun, state.currentCsf, state.step);
    const promised = state.step === PROMISED;
    slider.value = String(promised ? Math.round(100 * share) : state.step);
    byId("coverage-text").textContent = `${percent(share, 0)} of ${base}`;
    slider.setAttribute("aria-valuetext", `The system decides ${slider.value} % of ${base} alone${promised ? ", the promised threshold" : ""}`);
  });
}

const PAPER_WIDTH = 680, PAPER_HEIGHT = 400, PAPER_TYPE = 11;

/**
 * Shrink tables and plots to fit the paper: plots cannot be laid out again and keep their size on the screen.
 *
 * @param {boolean} on
 */
function fitPaper(on) {
  const type = PAPER_TYPE / parseFloat(getComputedStyle(document.documentElement).fontSize);
  byId("counts-box", HTMLDetailsElement).open = on;
  /** @type {NodeListOf<HTMLElement>} */
  const tables = document.querySelectorAll(".scroll > table");
  for (const table of tables) {
    table.style.zoom = on ? String(Math.min(1, PAPER_WIDTH / Math.max(table.offsetWidth * type, 1))) : "";
  }
  /** @type {NodeListOf<HTMLElement>} */
  const frames = document.querySelectorAll(".plot-frame, #curves-plot, #sweep-plot, #reliability-plot");
  for (const frame of frames) {
    const { width, height } = frame.getBoundingClientRect();
    Object.assign(frame.style, on
      ? { width: `${width}px`, height: `${height}px`, zoom: Math.min(1, PAPER_WIDTH / width, PAPER_HEIGHT / height) }
      : { width: "", height: "", zoom: "" });
  }
}

async function start() {
  const data = readPayload();
  setColours(data.colours);
  /** @type {(map: LatentMap) => void} */
  let mapReady = () => {};
  /** @type {Promise<LatentMap>} */
  const mapped = new Promise((done) => { mapReady = done; });
  /** @type {Page} */
  const page = {
    data,
    state: new State(data),
    pictures: new Pictures(data.tile),
    showOnMap: async (i) => {
      const map = await mapped;
      map.pin(i);
      byId("latent").scrollIntoView({ block: "start" });
      map.stage.focus({ preventScroll: true });
    },
  };
  setUpControls(page);
  setUpPromise(page);
  setUpSummary(page);
  await parsed();
  // from the top of the page to its end, one part at a time
  for (const setUp of [setUpGroups, setUpGallery, setUpConcepts, setUpBenchmark, setUpIntervals, setUpCounts, setUpDisagreement, setUpProvenance]) {
    await breath();
    setUp(page);
  }
  await breath();
  const plot = await drawPlots();
  const map = latentMap(page, plot("latent-figure"));
  setUpHandling(page, map);
  setUpSelection(page, map);
  mapReady(map);
  await breath();
  setUpSweep(page, plot("sweep-figure"));
  setUpCurves(page, plot("curves-figure"));
  setUpProbabilities(page, plot("reliability-figure"));
  // the navigation omits the parts for which this run has no data
  page.state.watch(["run", "csf"], () => {
    /** @type {NodeListOf<HTMLAnchorElement>} */
    const links = document.querySelectorAll("nav a");
    for (const link of links) link.hidden = byId(link.hash.slice(1)).hidden;
  });
  const repaint = () => page.state.set({ theme: theme() });
  darkScheme().addEventListener("change", repaint);
  window.addEventListener("beforeprint", () => { setPrinting(true); repaint(); map.draw(true); fitPaper(true); });
  window.addEventListener("afterprint", () => { setPrinting(false); fitPaper(false); repaint(); });
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  byId("failed").hidden = false;
  byId("failed").append(` (${error.message})`);
  throw error;
});
