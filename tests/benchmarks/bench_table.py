"""What Table 1 costs: time and memory of one pass over the results, and of the significance.

``python tests/benchmarks/bench_table.py`` writes made-up results of a reduced benchmark and collects them;
``--level`` checks instead how often the paired bootstrap calls two equally good scores different. Measured is
processor time, since the wall's depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from monai_sf.metrics import aurc, bootstrap_ci, paired_bootstrap
from monai_sf.results import Results, TestSet
from monai_sf.tables.aggregate import table_of
from monai_sf.tables.cells import collect
from monai_sf.tables.comparisons import significance


def made_up(n: int, classes: int, sets: int, seed: int) -> Results:
    """A ConfidNet run of n cases in groups of five, iid and corrupted."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(9).integers(0, classes, n)
    cases = pd.DataFrame(
        {
            "case_id": [f"case {i}" for i in range(n)],
            "label": labels,
            "label_name": [f"class {c}" for c in labels],
            "group": [f"patient {i // 5}" for i in range(n)],
            "source": "here",
        }
    )

    def test_set(k: int) -> TestSet:
        z = rng.normal(0, 1, (n, classes)).astype(np.float32)
        z[np.arange(n), labels] += 3
        mean = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        arrays = {
            "logits": z,
            "mcd_log_softmax": mean,
            "mcd_entropy": -(np.exp(mean) * mean).sum(axis=1),
            "confidence_logit": z[np.arange(n), labels],
        }
        kind, severity = divmod(k - 1, 5)
        corruption = f"kind{kind}" if k else None
        name = f"corruption-{corruption}-{severity + 1}" if k else "iid"
        return TestSet(
            name, "corruption" if k else "iid", np.arange(n), arrays, corruption, severity + 1 if k else 0
        )

    run = {
        "dataset": "made up",
        "study": "iid",
        "method": "confidnet",
        "seed": seed,
        "class_names": [f"class {c}" for c in range(classes)],
        "data_kind": "phantom",
    }
    return Results(run, cases, {s.name: s for s in map(test_set, range(sets))})


def cost(n: int, classes: int, sets: int, seeds: int, n_resamples: int) -> None:
    """Print a line of figures for one size."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            made_up(n, classes, sets, seed).save(Path(folder) / str(seed))
        start = time.process_time()
        collect([folder], n_resamples=0)
        plain = time.process_time() - start
        start = time.process_time()
        collection = collect([folder], n_resamples=n_resamples)
        resampling = time.process_time() - start - plain
        start = time.process_time()
        table_of(collection)
        significance(collection)
        tables = time.process_time() - start
    judged = len(collection.curves)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{n:7,d} {classes:7,d} {judged:8d} {1000 * plain / judged:14.1f} "
        f"{1000 * resampling / judged / n_resamples * 1000:25.1f} {tables:9.1f} {peak:9,.0f}",
        flush=True,
    )


def side_by_side(n: int, n_resamples: int) -> None:
    """The paired bootstrap of two scores beside two intervals of single scores."""
    rng = np.random.default_rng(0)
    error = (rng.random(n) < 0.15) * 1.0
    one, two = rng.normal(size=(2, n)) - error
    group = np.arange(n) // 5
    times = {"paired": [], "two intervals": []}
    for _ in range(3):
        start = time.process_time()
        paired_bootstrap(aurc, (one, error), (two, error), groups=group, n_resamples=n_resamples)
        times["paired"].append(time.process_time() - start)
        start = time.process_time()
        for confidence in (one, two):
            bootstrap_ci(aurc, confidence, error, groups=group, n_resamples=n_resamples)
        times["two intervals"].append(time.process_time() - start)
    paired, intervals = (min(values) for values in times.values())
    print(
        f"\nN = {n:,d}, {n_resamples} resamples: paired bootstrap {paired:.2f} s, "
        f"two bootstrap_ci {intervals:.2f} s, ratio {paired / intervals:.2f}"
    )


def level(rounds: int = 2000, patients: int = 50, images: int = 4) -> None:
    """Share of tests at 5 % that call two equally good scores different, with and without groups."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(patients), images)
    positives = {"with groups": 0, "without": 0}
    for i in range(rounds):
        hard = rng.random(patients)
        error = (rng.random(patients) < 0.6 * hard)[group] * 1.0
        pair = [
            ((-hard + rng.normal(0, 0.6, patients))[group] + rng.normal(0, 0.02, len(group)), error)
            for _ in range(2)
        ]
        for name, groups in (("with groups", group), ("without", None)):
            found = paired_bootstrap(aurc, *pair, groups=groups, n_resamples=199, seed=i)
            positives[name] += found.p_value <= 0.05
    for name, count in positives.items():
        share = count / rounds
        print(f"{name}: {share:.3f} ± {1.96 * np.sqrt(share * (1 - share) / rounds):.3f}")


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--level", action="store_true", help="simulate false positives instead")
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    if options.level:
        level()
        return
    print("  cases classes   judged  score+metrics ms  1000 resamples ms  tables s   peak MB")
    for n, classes, sets in ((2_000, 8, 6), (10_000, 8, 6), (10_000, 1_139, 2)):
        cost(n, classes, sets, seeds=2, n_resamples=options.resamples)
    side_by_side(10_000, options.resamples)


if __name__ == "__main__":
    main()
