// Mouse, touch and keyboard on the map.

import { answerText, caseCard, decisionOf, decisionText } from "./cards.js";
import { failuresOf, isTrusted } from "./counts.js";
import { byId } from "./elements.js";

/**
 * @import { LatentMap } from "./latent.js"
 * @import { Page } from "./state.js"
 */

/** @param {Page} page @param {LatentMap} map */
export function setUpHandling(page, map) {
  const { state } = page;
  const { stage, camera } = map;
  /** @type {Map<number, [number, number]>} */
  const pointers = new Map();
  const hover = byId("latent-hover");
  let moved = 0, hovered = -1;

  /** @param {MouseEvent} event @returns {[x: number, y: number, box: DOMRect]} */
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top, box];
  };

  /** @param {number} i @param {number} x @param {number} y @param {DOMRect} box */
  const showHover = (i, x, y, box) => {
    if (i !== hovered) {
      hovered = i;
      hover.replaceChildren(...(i < 0 ? [] : [caseCard(page, i, { details: false })]));
      stage.style.cursor = i < 0 ? "grab" : "pointer";
    }
    hover.hidden = i < 0;
    if (i < 0) return;
    hover.style.left = `${Math.min(Math.max(x + 18, 0), Math.max(box.width - hover.offsetWidth - 4, 0))}px`;
    hover.style.top = `${Math.min(Math.max(y - hover.offsetHeight / 2, 4), Math.max(box.height - hover.offsetHeight - 4, 4))}px`;
    // beside the pointer, never under it, where it would hide the case
    if (x + 18 + hover.offsetWidth > box.width) hover.style.left = `${Math.max(x - 18 - hover.offsetWidth, 0)}px`;
  };

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pointers.size === 1) {
      moved = 0;
      const [x, y] = place(event);
      if (map.mode !== "turn") map.select?.begin(x, y);
    }
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const [x, y, box] = place(event);
    if (!before) {
      if (event.pointerType !== "touch") showHover(map.pick(x, y), x, y, box);
      return;
    }
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    const side = Math.min(box.width, box.height);
    moved += Math.hypot(dx, dy);
    if (map.mode !== "turn") {
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      map.select?.move(x, y);
      return;
    }
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const [was, is] = [before, [event.clientX, event.clientY]].map((at) => Math.hypot(at[0] - other[0], at[1] - other[1]));
      if (was > 0) camera.zoomAt(is / was);
      camera.shift = [camera.shift[0] + dx / side / 2, camera.shift[1] + dy / side / 2];
    } else if (event.shiftKey || event.buttons === 2) {
      camera.shift = [camera.shift[0] + dx / side, camera.shift[1] + dy / side];
    } else {
      camera.rotate((-dx / side) * 3.2, (dy / side) * 3.2);
    }
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (moved > 4) showHover(-1, 0, 0, box);
    map.redraw(true);
  });

  /** @param {PointerEvent} event */
  const release = (event) => {
    const was = pointers.delete(event.pointerId);
    if (was && map.mode !== "turn") { map.select?.end(); return; }
    if (was && event.type === "pointerup" && moved < 5) {
      const [x, y] = place(event);
      const i = map.pick(x, y);
      if (i >= 0) map.pin(i);
    }
    map.redraw();
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", (event) => showHover(-1, ...place(event)));
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y, box] = place(event);
    const side = Math.min(box.width, box.height);
    camera.zoomAt(Math.exp(-event.deltaY * 0.0015), (x - box.width / 2) / side, (y - box.height / 2) / side);
    map.redraw(true);
  }, { passive: false });

  /** @param {number} by */
  const step = (by) => {
    const run = state.currentRun;
    const csf = state.currentCsf;
    const failures = failuresOf(run, csf, run.sets.keys()).filter((i) => isTrusted(csf, state.step, i) && map.isOn(i));
    if (!failures.length) { byId("latent-said").textContent = "No silent failure on the map."; return; }
    const at = failures.indexOf(state.pinned.at(-1) ?? -1);
    const next = failures[(at < 0 ? (by > 0 ? 0 : failures.length - 1) : at + by + failures.length) % failures.length];
    state.set({ pinned: [next] });
    byId("latent-said").textContent = `Silent failure ${failures.indexOf(next) + 1} of ${failures.length}: `
      + `${run.points.error ? "" : "is "}${answerText(run, csf, next)}, ${decisionText(decisionOf(page.data, csf, state.step, next))}`;
  };

  /** @type {Record<string, (shift: boolean) => void>} */
  const KEYS = {
    ArrowLeft: (shift) => (shift ? (camera.shift[0] -= 0.04) : camera.rotate(0.12, 0)),
    ArrowRight: (shift) => (shift ? (camera.shift[0] += 0.04) : camera.rotate(-0.12, 0)),
    ArrowUp: (shift) => (shift ? (camera.shift[1] -= 0.04) : camera.rotate(0, -0.12)),
    ArrowDown: (shift) => (shift ? (camera.shift[1] += 0.04) : camera.rotate(0, 0.12)),
    "+": () => camera.zoomAt(1.2), "=": () => camera.zoomAt(1.2), "-": () => camera.zoomAt(1 / 1.2),
    0: () => camera.reset(), Home: () => camera.reset(),
    n: () => step(1), p: () => step(-1), N: () => step(1), P: () => step(-1),
    Escape: () => state.set({ pinned: [] }),
  };
  stage.addEventListener("keydown", (event) => {
    const act = KEYS[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(event.shiftKey);
    map.redraw(true);
  });
  byId("latent-reset").addEventListener("click", () => { camera.reset(); map.redraw(); });
  /** @param {string} id @param {number} factor */
  const zoomBy = (id, factor) => byId(id).addEventListener("click", () => { camera.zoomAt(factor); map.redraw(); });
  zoomBy("latent-closer", 1.3);
  zoomBy("latent-farther", 1 / 1.3);
  byId("latent-next").addEventListener("click", () => step(1));
}
