// The answer in ten seconds: of 100 cases that the system is sure of, how many are wrong?

function ofHundred(silent, trusted) {
  const share = (100 * silent) / trusted;
  if (silent === 0) return "none";
  if (share < 0.5) return "fewer than 1";
  return String(Math.round(share));
}

/** One hundred little squares; the wrong ones are crossed out in red. */
function hundred(wrong) {
  const squares = [];
  for (let i = 0; i < 100; i++) {
    const x = (i % 20) * 11, y = Math.floor(i / 20) * 11;
    squares.push(el("svg:rect", { x: x + 0.5, y: y + 0.5, width: 9, height: 9, rx: 2, class: i < wrong ? "wrong" : "right" }));
    if (i < wrong) squares.push(el("svg:path", { d: `M${x + 2.8} ${y + 2.8}l4.4 4.4m0-4.4l-4.4 4.4`, class: "x" }));
  }
  return el("svg:svg", { viewBox: "0 0 219 54", class: "hundred", role: "img",
    "aria-label": `${wrong} of 100 squares are marked as wrong` }, squares);
}

/** What became of all cases of the group, as one bar of four parts. */
function fate(sum) {
  const handed = sum.count - sum.trusted;
  const caught = sum.errors - sum.silent;
  const parts = [["correct", sum.trusted - sum.silent], ["silent", sum.silent], ["caught", caught], ["alarm", handed - caught]];
  const label = `${number(sum.trusted - sum.silent)} decided and correct, ${number(sum.silent)} silent failures, ` +
    `${number(caught)} failures handed to a person, ${number(handed - caught)} correct ones handed to a person`;
  return el("div", { class: "fate", role: "img", "aria-label": label },
    parts.map(([name, n]) => el("span", { class: name, style: `flex-grow:${n}`, title: `${number(n)}` })));
}

function groupCard(page, kind, sets) {
  const { state, data } = page;
  const run = state.currentRun;
  const sum = tally(state.currentCsf, run, sets, state.step);
  const [title, meaning] = data.groups[kind];
  const described = [...new Set(sets.map((i) => run.sets[i].description).filter(Boolean))].slice(0, 3);
  const [low, high] = interval(sum.silent / sum.trusted, state.currentCsf.effective[kind][state.step - 1]);
  const right = 1 - sum.errors / sum.count;
  const [least, most] = interval(right, state.currentCsf.effective[kind][ALL_CASES]);
  const handed = sum.count - sum.trusted;
  const caught = sum.errors - sum.silent;
  const many = sum.trusted ? ofHundred(sum.silent, sum.trusted) : null;
  const headline = sum.trusted
    ? el("p", { class: "headline" }, "Of 100 cases the system was sure of, ",
      el("strong", {}, many), ["1", "fewer than 1"].includes(many) ? " was wrong." : " were wrong.")
    : el("p", { class: "headline" }, "The system was sure of none of these cases.");
  return el("article", { class: "group-card", "data-kind": kind },
    el("h3", {}, title),
    el("p", { class: "quiet" }, described.length ? described.join(" ") : kind === "iid" || kind === "corruption" ? meaning : `${meaning}: ${run.studyTitle}`),
    headline,
    sum.trusted ? hundred(Math.round((100 * sum.silent) / sum.trusted)) : null,
    fate(sum),
    el("p", {}, "Sure of ", el("b", {}, `${number(sum.trusted)} of ${number(sum.count)}`), ` (${percent(sum.trusted / sum.count, 0)}), `,
      el("b", { class: "silent-count" }, number(sum.silent)), " of them wrong: ",
      `${percent(sum.silent / sum.trusted)} (95 % interval ${percent(low)} to ${percent(high)}).`),
    el("p", { class: "quiet" }, `Handed to a person: ${number(handed)}, of which ${number(caught)} would have been wrong. `,
      `Deciding all cases alone, it would be right in ${percent(right)} (95 % interval ${percent(least)} to ${percent(most)}).`));
}

/** What is compared at the top: the ordinary and the disturbed cases, and the targets of all studies. */
function overviewOf({ state, data }) {
  const home = data.runs.some((run) => run.study === "iid") ? "iid" : data.runs[0].study;
  return [...new Set(data.runs.map((run) => run.study))].flatMap((study) => {
    const index = state.findRun(study, state.csf, state.currentRun.seed);
    const run = data.runs[index];
    const csf = run.csfs.find((entry) => entry.name === state.csf);
    if (!csf) return [];
    return groupsOf(run).filter(([kind]) => study === home || kind === "acquisition" || kind === "manifestation")
      .map(([kind, sets]) => ({ index, run, csf, kind, sets }));
  });
}

/** One tile a group of test sets of any study: where does it fail silently? */
function drawOverview(page) {
  const { state, data } = page;
  const tiles = overviewOf(page);
  const several = new Set(data.runs.map((run) => run.study)).size > 1;
  byId("overview").hidden = !several;
  if (!several) return;
  const rates = tiles.map(({ run, csf, sets }) => { const sum = tally(csf, run, sets, state.step); return sum.trusted ? sum.silent / sum.trusted : 0; });
  const most = Math.max(...rates, 0.01);
  fill("overview", el("p", { class: "overview-title" }, "Of 100 cases the system was sure of, so many were wrong:"),
    el("div", { class: "tiles" }, tiles.map(({ index, run, csf, kind, sets }, k) => {
      const sum = tally(csf, run, sets, state.step);
      const own = kind === "acquisition" || kind === "manifestation";
      const many = sum.trusted ? ofHundred(sum.silent, sum.trusted) : "–";
      const [low, high] = interval(sum.silent / sum.trusted, csf.effective[kind][state.step - 1]);
      return el("button", { type: "button", class: "tile", "data-kind": kind, "aria-pressed": String(run.study === state.currentRun.study),
        title: `95 % interval ${percent(low)} to ${percent(high)}; ${number(sum.silent)} of ${number(sum.trusted)}`,
        onclick: () => state.goTo(index) },
      el("strong", {}, many === "fewer than 1" ? "< 1" : many === "none" ? "0" : many),
      el("span", {}, data.groups[kind][0], own ? el("span", { class: "quiet" }, run.studyTitle) : null),
      el("span", { class: "bar", style: `width:${(100 * rates[k]) / most}%`, "aria-hidden": "true" }));
    })));
}

function setUpSummary(page) {
  const { state } = page;
  state.watch(["run", "csf", "step"], () => drawOverview(page));
  state.watch(["run", "csf", "step"], () => {
    const run = state.currentRun;
    fill("cards", groupsOf(run).map(([kind, sets]) => groupCard(page, kind, sets)));
    fill("study-text", run.description ? [el("b", {}, run.studyTitle), `: ${run.description}`] : "");
    byId("study-text").hidden = !run.description;
    const notes = [...page.data.notes, ...run.notes];
    fill("notes", notes.map((note) => el("li", {}, note)));
    byId("notes-box").hidden = !notes.length;
  });
}
