// The benchmark table, coloured by column as in the paper, and the counts behind every sentence.

const COLUMN_TITLES = {
  iid: ["iid", "ordinary cases"], cor: ["cor", "mean of all disturbed images"],
  acq: ["acq", "mean of other places or devices"], man: ["man", "mean of unseen kinds of disease"],
};

/** Silent failures per trusted case, the benchmark's columns, for one score; mean over runs as in Python. */
function silentRates(data, name, step) {
  const kinds = { iid: "iid", cor: "corruption", acq: "acquisition", man: "manifestation" };
  const hasIid = data.runs.some((run) => run.study === "iid");
  return data.table.columns.map((column) => {
    let trusted = 0, silent = 0;
    for (const run of data.runs) {
      if (hasIid && run.study !== "iid" && (column === "iid" || column === "cor")) continue;
      const csf = run.csfs.find((entry) => entry.name === name);
      if (!csf) continue;
      const sets = run.sets.map((set, i) => [set, i]).filter(([set]) => set.kind === kinds[column]).map(([, i]) => i);
      const sum = tally(csf, run, sets, step);
      trusted += sum.trusted;
      silent += sum.silent;
    }
    return trusted ? silent / trusted : null;
  });
}

/** Cells with a background from light (best of the column) to strong (worst); numbers always readable. */
function shaded(values, column, row, text) {
  const others = values.map((line) => line[column]).filter((v) => v !== null);
  const value = values[row][column];
  if (value === null) return el("td", { class: "missing" }, "–");
  const [low, high] = [Math.min(...others), Math.max(...others)];
  const t = high > low ? (value - low) / (high - low) : 0;
  return el("td", { class: t > 0.6 ? "strong" : "", style: `--t:${t.toFixed(3)}` }, text(value),
    value === low && others.length > 1 ? el("span", { class: "best", title: "best of this column" }, " ★") : null);
}

/** An interval of shares, in per cent, behind its estimate. */
function bounds(interval) {
  return interval ? ` (${interval.map((v) => (100 * v).toFixed(2)).join(" – ")})` : "";
}

/** AURC of every score on every undisturbed test set of every run, with its interval. */
function setUpIntervals(page) {
  const { state, data } = page;
  const columns = data.runs.flatMap((run) => run.sets.map((set, i) => [run, set, i]).filter(([, set]) => set.kind !== "corruption"));
  state.watch(["csf", "more"], () => {
    const rows = data.table.rows.filter((name) => state.offers(name));
    fill("intervals", el("table", { class: "plain" },
      el("caption", {}, "AURC in per cent with 95 % intervals by bootstrap; cases of one group (patient) are drawn together. Lower is better."),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Confidence score"), columns.map(([run, set]) => el("th", { scope: "col" },
        run.studyTitle, el("span", { class: "quiet" }, `${set.title}, ${number(set.count)} cases; ${run.method}, seed ${run.seed}`))))),
      el("tbody", {}, rows.map((name) => el("tr", {}, el("th", { scope: "row" }, name), columns.map(([run, , i]) => {
        const found = run.csfs.find((csf) => csf.name === name)?.sets[i];
        return el("td", {}, found ? `${(100 * found.aurc).toFixed(2)}${bounds(found.aurcInterval)}` : "–");
      }))))));
  });
}

function setUpBenchmark(page) {
  const { state, data } = page;
  const metric = byId("table-metric");
  const draw = () => {
    const silent = metric.value === "silent";
    const { columns } = data.table;
    const rows = data.table.rows.filter((name) => state.offers(name));
    const values = rows.map((name) => (silent
      ? silentRates(data, name, state.step) : data.table.values[data.table.rows.indexOf(name)]));
    const head = el("tr", {}, el("th", { scope: "col" }, "Confidence score"),
      columns.map((c) => el("th", { scope: "col" }, el("abbr", { title: COLUMN_TITLES[c][1] }, COLUMN_TITLES[c][0]),
        el("span", { class: "quiet" }, COLUMN_TITLES[c][1]))));
    const body = rows.map((name, r) => el("tr", { class: name === state.csf ? "current" : null },
      el("th", { scope: "row" }, el("button", {
        class: "link", type: "button", title: data.csfs[name].description,
        onclick: () => state.goTo(state.findRun(state.currentRun.study, name, state.currentRun.seed), name),
      }, name)),
      columns.map((_, c) => shaded(values, c, r, (v) => (100 * v).toPrecision(3)))));
    fill("benchmark", el("table", { class: "heat" },
      el("caption", {}, silent
        ? `Wrong among 100 cases the system is sure of, at ${state.step} % of ordinary cases decided alone. Lower is better.`
        : "AURC in per cent: error rate averaged over all working points, a silent failure rate. Lower is better."),
      el("thead", {}, head), el("tbody", {}, body)));
  };
  metric.addEventListener("change", draw);
  state.watch(["csf", "step", "more"], draw);
}

function setUpCounts(page) {
  const { state } = page;
  state.watch(["run", "csf", "step"], () => {
    const run = state.currentRun;
    const csf = state.currentCsf;
    const heads = ["Test set", "Cases", "Accuracy", "AURC", "Sure of", "Silent failures", "of the sure", "95 % interval", "Failures handed over"];
    const rows = run.sets.map((set, i) => {
      const sum = tally(csf, run, [i], state.step);
      const [low, high] = interval(sum.silent / sum.trusted, csf.sets[i].effective[state.step - 1]);
      return el("tr", { "data-set": set.name }, el("th", { scope: "row" }, set.title),
        [number(sum.count), percent(1 - sum.errors / sum.count), percent(csf.sets[i].aurc, 2) + bounds(csf.sets[i].aurcInterval),
          `${number(sum.trusted)} (${percent(sum.trusted / sum.count, 0)})`, number(sum.silent),
          percent(sum.silent / sum.trusted), `${percent(low)} – ${percent(high)}`, number(sum.errors - sum.silent)]
          .map((text) => el("td", {}, text)));
    });
    fill("counts", el("table", { class: "plain" },
      el("caption", {}, `${run.studyTitle}, ${csf.name}, working point ${state.step} %. All cases are counted, not only those shown below.`),
      el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, rows)));
  });
}
