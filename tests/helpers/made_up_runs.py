"""Made-up results of a run: two-dimensional Gaussian classes that overlap, shift and blur like real ones."""

import numpy as np
import pandas as pd

from monai_sf.results import Results, TestSet

F_SHAPE = ("11111", "10000", "10000", "11110", "10000", "10000", "10000")


def letter_f(size=64):
    """A white F on black: neither a transposed nor a mirrored F looks like it."""
    image = np.zeros((size, size), np.uint8)
    cell = size // 9
    for y, line in enumerate(F_SHAPE):
        for x, bit in enumerate(line):
            image[(y + 1) * cell : (y + 2) * cell, (x + 2) * cell : (x + 3) * cell] = 255 * int(bit)
    return image


def nodule(rng, malignancy, size=64):
    """A bright blob, the more spiky the more malignant, in grey noise."""
    y, x = np.mgrid[:size, :size] - size / 2 + rng.normal(0, 1.5, (2, 1, 1))
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    waves = sum(
        rng.normal(0, 1) * np.cos(k * angle + rng.uniform(0, 6.3)) / k for k in range(2, 9)
    )  # fmt: skip
    outline = size * (0.14 + 0.05 * malignancy) * (1 + 0.22 * malignancy * waves)
    blob = 1 / (1 + np.exp((radius - outline) / (2.2 - 1.2 * malignancy)))
    noise = rng.normal(0, 1, (size // 4, size // 4)).repeat(4, 0).repeat(4, 1)
    return np.clip(60 + 12 * noise + rng.normal(0, 8, (size, size)) + 130 * blob, 0, 255).astype(np.uint8)


def _log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def _outputs(rng, latent, features, width, images):
    """Arrays of one test set from the cases' places along the class axes."""
    z = latent * 3.2
    samples = _log_softmax(z[None] + rng.normal(0, 0.9, (8, *z.shape)))
    arrays = {
        "logits": z.astype(np.float32),
        "mcd_log_softmax": np.log(np.exp(samples).mean(axis=0)).astype(np.float32),
        "mcd_entropy": (-(np.exp(samples) * samples).sum(axis=2)).mean(axis=0).astype(np.float32),
        "confidence_logit": (np.abs(z[:, 0] - z[:, -1]) - 1 + rng.normal(0, 1, len(z))).astype(np.float32),
    }
    if features is not None:
        mixed = latent @ features + rng.normal(0, 0.35, (len(latent), width))
        arrays["features"] = mixed.astype(np.float32)
    if images is not None:
        arrays["images"] = images
    return arrays


def make_run(
    study="iid",
    method="confidnet",
    seed=0,
    n=300,
    classes=2,
    corruptions=("gaussian_noise",),
    severities=(1, 5),
    pictures="f",
    width=24,
    data_kind="real",
    hostile="",
    dataset="lung_nodule_ct",
):
    """Results of one run; ``hostile`` is put into every text field."""
    rng = np.random.default_rng([seed, len(study), n])
    total = n + (n // 2 if study != "iid" else 0)
    labels = rng.integers(0, classes, total)
    if study == "unknown":
        labels[n:] = -1
    names = [["benign", "malignant"][c] if classes == 2 else f"class {c}" for c in range(classes)]
    names = [f"{name}{hostile}" for name in names]
    cases = pd.DataFrame(
        {
            "case_id": [f"{hostile}LIDC-{i:04d}-n{i % 3}" for i in range(total)],
            "label": labels,
            "label_name": [names[c] if c >= 0 else f"rash{hostile}" for c in labels],
            "group": [f"patient{hostile}{i // 5}" for i in range(total)],
            "source": [f"site {hostile}{'AB'[i % 2]}" for i in range(total)],
            "image": [f"/home/someone/data/{i}.png" for i in range(total)],
            f"spiculation{hostile}": np.round(rng.uniform(1, 5, total), 2),
            "texture": [f"{['solid', 'part-solid', 'ground glass'][i % 3]}{hostile}" for i in range(total)],
        }
    )
    truth = np.where(labels[:, None] < 0, 0.5, np.eye(classes)[labels]) + rng.normal(
        0, 0.55, (total, classes)
    )
    mix = rng.normal(0, 1, (classes, width)) if width else None

    def pictured(where, brightness=0.0, noise=0.0):
        if pictures is None:
            return None
        if pictures == "f":
            return np.repeat(letter_f()[None], len(where), axis=0)
        grades = np.clip(truth[where, -1] - truth[where, 0] + 0.5, 0, 1)
        base = [nodule(np.random.default_rng([7, i]), g) for i, g in zip(where, grades, strict=True)]
        grain = np.random.default_rng(5).normal(0, 255 * noise, (len(where), 64, 64))
        changed = np.stack(base) * (1 + brightness) + grain
        return np.clip(changed, 0, 255).astype(np.uint8)

    def test_set(name, kind, rows, latent, corruption=None, severity=0, brightness=0.0, noise=0.0):
        arrays = _outputs(rng, latent, mix, width, pictured(rows, brightness, noise))
        return TestSet(name, kind, rows, arrays, corruption, severity)

    rows = np.arange(n)
    sets = [test_set("iid", "iid", rows, truth[rows])]
    if study != "iid":
        target = np.arange(n, total)
        kind = {"mskcc": "acquisition", "unknown": "new_class"}.get(study, "manifestation")
        sets.append(test_set("target", kind, target, truth[target] + np.linspace(0.5, -0.1, classes)))
    for c, corruption in enumerate(corruptions):
        for severity in severities:
            shift = np.zeros(classes)
            shift[0 if c % 2 == 0 else -1] = 0.17 * severity
            moved = truth[rows] + shift + rng.normal(0, 0.06 * severity, (n, classes))
            brightness = 0.12 * severity if "up" in corruption else 0
            noise = 0.04 * severity if "noise" in corruption else 0
            name = f"corruption-{corruption}-{severity}"
            sets.append(test_set(name, "corruption", rows, moved, corruption, severity, brightness, noise))
    run = {
        "dataset": dataset,
        "study": study,
        "method": method,
        "seed": seed,
        "class_names": names,
        "data_kind": data_kind,
        "versions": {"monai": "1.6.1", "torch": "2.13.0"},
        "config": {"dataset_dir": "/home/someone/data", "note": f"{hostile}", "learning_rate": 1.5e-4},
        "test_sets": [s.name for s in sets],
    }
    return Results(run, cases, {s.name: s for s in sets})
