// Failures that one score lets pass and another one catches, side by side.

function setUpDisagreement(page) {
  const { state } = page;
  const chooser = byId("other-csf");

  const column = (title, run, cases, scores) => {
    const grid = el("div", { class: "case-grid" });
    const more = el("button", { type: "button", class: "more" });
    let shown = 0;
    const show = (count) => {
      for (const i of cases.slice(shown, shown + count)) grid.append(caseCard(page, i, { scores, buttons: mapButton(page, i) }));
      shown = Math.min(shown + count, cases.length);
      more.hidden = shown === cases.length;
      more.textContent = `show ${Math.min(MORE, cases.length - shown)} more`;
    };
    more.addEventListener("click", () => show(MORE));
    show(FIRST);
    return el("section", {}, el("h3", {}, title),
      el("p", { class: "quiet" }, `${number(cases.length)} of the ${number(run.points.count)} cases that are shown one by one`), grid, more);
  };

  /** Sampled failures that a trusts and b does not, those a is surest of first. */
  const missed = (run, a, b) => {
    const found = [];
    for (let i = 0; i < run.points.count; i++) {
      if (outcome(run, a, state.step, i) === SILENT && outcome(run, b, state.step, i) === DETECTED) found.push(i);
    }
    return found.sort((i, j) => a.step[i] - a.step[j] || i - j);
  };

  const draw = () => {
    const run = state.currentRun;
    const first = state.currentCsf;
    const second = run.csfs.find((csf) => csf.name === chooser.value);
    byId("disagreement").hidden = !second;
    if (!second) return;
    fill("disagreements",
      column(`${first.name} misses, ${second.name} catches`, run, missed(run, first, second), [first, second]),
      column(`${second.name} misses, ${first.name} catches`, run, missed(run, second, first), [second, first]));
  };

  state.watch(["run", "csf", "more"], () => {
    const run = state.currentRun;
    const first = state.currentCsf;
    const others = state.offered.filter((csf) => csf !== first);
    chooser.replaceChildren(...others.map(({ name }) => el("option", { value: name }, name)));
    // at first the score that differs most in both directions
    const count = (csf) => Math.min(missed(run, first, csf).length, missed(run, csf, first).length);
    const counts = others.map(count);
    if (others.length) chooser.value = others[counts.indexOf(Math.max(...counts))].name;
  });
  chooser.addEventListener("change", draw);
  state.watch(["run", "csf", "step", "more"], draw);
}
