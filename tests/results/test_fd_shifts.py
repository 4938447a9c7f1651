"""Folders of FD-Shifts of both generations, and what of them is refused (values: test_fd_shifts_values)."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from monai_sf.results import ResultsError, read_fd_shifts
from monai_sf.tables import benchmark_table
from monai_sf.tables.judge import failure_detection

WRONG = (0.0, 0.5, 0.9, 0.25)  # share of errors of every test set, by its index
STUDIES = {"iid_study": "skin", "in_class_study": [{"dataset": "clinic_b"}]}
DEFAULT = object()


def raw_of(sets=3):
    rows = []
    for index, wrong in enumerate(WRONG[:sets]):
        label = np.arange(40) % 3
        guess = np.where(np.arange(40) < wrong * 40, (label + 1) % 3, label)
        rows.append(np.column_stack([np.eye(3)[guess] * 5, label, np.full(40, index)]))
    return np.concatenate(rows)


def experiment(folder, *, nested=False, studies=STUDIES, tuning=True, seed=3, raw=None, sets=3, **evaluation):
    (folder / "hydra").mkdir(parents=True)
    (folder / "test_results").mkdir()
    np.savez(folder / "test_results" / "raw_logits.npz", raw_of(sets) if raw is None else raw)
    config = {
        "data": {"dataset": "skin"},
        "eval": evaluation,
        "exp": {} if seed is None else {"global_seed": seed},
    }
    if studies is not DEFAULT:
        config["eval"]["query_studies"] = studies
    if tuning is not DEFAULT:
        config["eval"]["val_tuning"] = tuning
    text = yaml.safe_dump({"config": config, "experiment": None} if nested else config, sort_keys=False)
    (folder / "hydra" / "config.yaml").write_text(text)
    return folder


def errors_of(folder):
    run = read_fd_shifts(folder)
    return {name: failure_detection(run, name, "MSR").error.mean() for name in run.test_sets}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("studies", "sets", "tuning", "expected"),
    [
        (STUDIES, 3, True, {"iid": 0.5, "clinic_b": 0.9}),
        (dict(reversed(STUDIES.items())), 3, True, {"iid": 0.5, "clinic_b": 0.9}),  # iid is always first
        ({"iid_study": None, "in_class_study": ["clinic_b"]}, 3, True, {"iid": 0.5, "clinic_b": 0.9}),
        (STUDIES, 2, False, {"iid": 0.0, "clinic_b": 0.5}),
        (None, 2, True, {"iid": 0.5}),
        (None, 1, False, {"iid": 0.0}),
        (DEFAULT, 2, True, {"iid": 0.5}),
        ({"noise_study": [], "in_class_study": []}, 2, True, {"iid": 0.5}),
        ({"noise_study": {"dataset": None}, "iid_study": "skin"}, 2, True, {"iid": 0.5}),
        ({"in_class_study": ["clinic_b"]}, 2, True, {"clinic_b": 0.5}),  # tested without an iid set
        ({"iid_study": "skin", "in_class_study": ["iid"]}, 3, True, {"iid": 0.5, "iid-2": 0.9}),
        ({"iid_study": "skin", "in_class_study": ["calibri_br"]}, 3, True, {"iid": 0.5, "calibri_br": 0.9}),
        (
            {"iid_study": "skin", "in_class_study": ["${data.dataset}corrmotblrlowlow"]},
            3,
            True,
            {"iid": 0.5, "corruption-motion_blur-2": 0.9},
        ),
    ],
)
def test_test_sets_are_named_as_both_generations_write_them(
    tmp_path, nested, studies, sets, tuning, expected
):
    folder = experiment(tmp_path / "e", nested=nested, studies=studies, sets=sets, tuning=tuning)
    assert errors_of(folder) == expected


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"studies": None}, r"holds the test sets 0, 1, 2, .* names others: 0 validation, 1 iid_study"),
        ({"studies": {}, "sets": 4}, "names others"),
        ({"tuning": False}, r"test sets 0, 1, 2, .* names others: 0 iid_study, 1 clinic_b"),
        ({"sets": 2}, "names others: 0 validation, 1 iid_study, 2 clinic_b"),
        ({"tuning": DEFAULT}, "val_tuning must be true or false, got None"),
        ({"tuning": "${eval.x}"}, r"val_tuning must be true or false, got '\$\{eval.x\}'"),
        ({"studies": "${a.b}"}, "query_studies must map studies to datasets"),
        ({"studies": {"iid_study": "skin", "in_class_study": "${fd_shifts.concat:a,b}"}}, "names no dataset"),
        ({"studies": {"iid_study": "skin", "in_class_study": [{"dataset": ["a"]}]}}, "names no dataset"),
        (
            {"studies": {"iid_study": "skin", "in_class_study": ["skincorrjpeghigh"]}},
            "the corruption of skincorr",
        ),
        ({"ext_confid_name": "${eval.x}"}, "enter the learned confidence"),
    ],
)
def test_what_cannot_be_told_for_sure_is_refused(tmp_path, nested, settings, message):
    with pytest.raises(ResultsError, match=message):
        read_fd_shifts(experiment(tmp_path / "e", nested=nested, **settings))


def test_a_config_of_neither_or_both_generations_is_refused(tmp_path):
    folder = experiment(tmp_path / "e")
    file = folder / "hydra" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    for content, found in (
        ({**config, "config": config}, "both"),
        ({"cfg": config}, "neither"),
        ("a", "neither"),
    ):
        file.write_text(yaml.safe_dump(content))
        with pytest.raises(ResultsError, match=f"one of eval and config.eval, got {found}"):
            read_fd_shifts(folder)
    file.write_text("exp: {day: 2024-13-45}")
    with pytest.raises(ResultsError, match=r"config\.yaml is not YAML"):
        read_fd_shifts(folder)


def test_without_a_config_only_a_single_test_set_can_be_told(tmp_path):
    np.savez(tmp_path / "raw_logits.npz", raw_of(2))
    with pytest.raises(ResultsError, match="holds the test sets 0, 1, and no hydra/config.yaml"):
        read_fd_shifts(tmp_path)


def test_paths_and_other_tagged_values_are_read_and_nothing_is_run(tmp_path):
    folder = experiment(tmp_path / "e")
    file = folder / "hydra" / "config.yaml"
    tagged = (
        "trainer:\n  dir: !!python/object/apply:pathlib.PosixPath [/, home]\n"
        f"  run: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n  size: !!python/tuple [1, 2]\n"
    )
    file.write_text(file.read_text() + tagged)
    assert errors_of(folder) == {"iid": 0.5, "clinic_b": 0.9}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("nested", [False, True])
def test_an_unknown_seed_still_tells_runs_apart(tmp_path, nested):
    seeds = []
    for i, seed in enumerate(("${fd_shifts.random_seed:}", None, -1)):
        raw = raw_of()
        raw[:, :3] += i
        run = read_fd_shifts(experiment(tmp_path / str(i), nested=nested, seed=seed, raw=raw))
        seeds.append(run.run["seed"])
    assert all(seed < 0 for seed in seeds)
    assert len(set(seeds)) == 3
    assert read_fd_shifts(tmp_path / "0").run["seed"] == seeds[0]
    assert read_fd_shifts(experiment(tmp_path / "known", seed="12")).run["seed"] == 12


def test_a_noise_study_of_many_corruptions_is_left_out_and_said(tmp_path):
    studies = {"iid_study": "cifar10", "noise_study": ["corrupt_cifar10"], "in_class_study": ["clinic_b"]}
    folder = experiment(tmp_path / "e", studies=studies, sets=4)
    with pytest.warns(UserWarning, match="corrupt_cifar10 of noise_study is left out"):
        assert errors_of(folder) == {"iid": 0.5, "clinic_b": 0.25}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (-1, 1e8, "names others"),
        (-1, 1e18, "index of the test set must be a whole number from 0 on; 1 of 120 are not: 1e"),
        (-1, -1, "index of the test set must be a whole number .* -1.0"),
        (-1, 0.5, "index of the test set must be a whole number .* 0.5"),
        (-1, np.nan, "index of the test set must be a whole number .* nan"),
        (-2, 1.5, "label must be a whole number .* 1.5"),
        (-2, np.nan, "label must be a whole number .* nan"),
        (-2, -1, "label must be a whole number .* -1.0"),
        (-2, 3, r"iid_study \(1\): labels must be in 0\.\.2, got 3\. Only new_class_study"),
        (0, np.nan, "logits is NaN or infinite for 1 cases"),
    ],
)
def test_a_value_that_cannot_be_is_refused_at_once(tmp_path, column, value, message):
    raw = raw_of()
    raw[50, column] = value
    with pytest.raises(ResultsError, match=message):
        read_fd_shifts(experiment(tmp_path / "e", raw=raw))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("label", [1, 77, -99, np.nan])
@pytest.mark.parametrize("listed", [["cifar"], "cifar", [{"dataset": "cifar"}]])
def test_new_classes_are_test_sets_whatever_their_labels(tmp_path, nested, label, listed):
    raw = raw_of()
    raw[raw[:, -1] == 2, -2] = label
    studies = {"iid_study": "skin", "new_class_study": listed}
    folder = experiment(tmp_path / "e", raw=raw, studies=studies, nested=nested)
    assert errors_of(folder) == {"iid": 0.5, "cifar": 1.0}
    run = read_fd_shifts(folder)
    assert run.test_sets["cifar"].kind == "new_class"
    assert set(run.labels_of("cifar")) == {-1}
    assert len(run.test_sets["cifar"]) == 40


def test_new_classes_beside_other_studies_keep_the_order_of_the_config(tmp_path):
    studies = {"new_class_study": ["cifar"], "iid_study": "skin", "in_class_study": ["clinic_b"]}
    raw = raw_of(4)
    raw[raw[:, -1] == 2, -2] = 5
    run = read_fd_shifts(experiment(tmp_path / "e", studies=studies, raw=raw))
    assert {name: s.kind for name, s in run.test_sets.items()} == {
        "iid": "iid",
        "cifar": "new_class",
        "clinic_b": "acquisition",
    }
    table = benchmark_table([run])
    assert list(table.columns) == ["iid", "acq", "new"]


def npz(path: Path, array_bytes, *, name="arr_0.npy"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, array_bytes)


def npy(array, *, shape=None):
    stored = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(stored, header | {"shape": array.shape if shape is None else shape})
    return stored.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda p: npz(p, npy(raw_of(), shape=(10**10, 5))),
            r"damaged: it promises \(10000000000, 5\) values",
        ),
        (lambda p: npz(p, npy(raw_of(), shape=(10**40, 5))), "damaged|cannot be read"),
        (lambda p: npz(p, b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535), "cannot be read"),
        (lambda p: npz(p, npy(raw_of()), name="other.npy"), "cannot be read"),
        (lambda p: p.write_bytes(npy(raw_of())), "cannot be read"),
        (lambda p: np.savez(p, np.array([{}, {}])), r"must have shape \(any, any\), got \(2,\)"),
        (lambda p: np.savez(p, np.array([[{}] * 5])), "must hold real numbers, got dtype object"),
        (lambda p: np.savez(p, np.array([["1.0"] * 5])), "must hold real numbers, got dtype <U3"),
        (lambda p: np.savez(p, raw_of() + 1j), "must hold real numbers, got dtype complex128"),
        (lambda p: np.savez(p, np.float64(3)), r"must have shape \(any, any\), got \(\)"),
        (lambda p: np.savez(p, raw_of()[None]), r"must have shape \(any, any\), got \(1, 120, 5\)"),
        (lambda p: np.savez(p, np.zeros((0, 5))), "must have at least two classes, label and index"),
        (lambda p: np.savez(p, np.zeros((4, 2053), np.float16)), "2051 classes in half precision"),
    ],
)
def test_a_file_that_is_no_array_of_scores_is_refused_by_name(tmp_path, write, message):
    folder = experiment(tmp_path / "e")
    write(folder / "test_results" / "raw_logits.npz")
    with pytest.raises(ResultsError, match=f"raw_logits.npz.* {message}|raw_logits.npz {message}"):
        read_fd_shifts(folder)


def test_a_small_file_does_not_unpack_to_a_large_one(tmp_path, monkeypatch):
    folder = experiment(tmp_path / "e")
    np.savez_compressed(folder / "test_results" / "raw_logits.npz", np.zeros((50_000, 5)))
    monkeypatch.setattr("monai_sf.results.fd_shifts._LARGE", 1_000_000)
    with pytest.raises(ResultsError, match=r"damaged: it promises \(50000, 5\) values of float64 in \d+ byt"):
        read_fd_shifts(folder)


def test_a_torn_or_encrypted_file_is_refused_by_name(tmp_path):
    folder = experiment(tmp_path / "e")
    file = folder / "test_results" / "raw_logits.npz"
    whole = file.read_bytes()
    encrypted = bytearray(whole)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + offset] |= 1
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:-30], bytes(encrypted), bytes(flipped), b""):
        file.write_bytes(content)
        with pytest.raises(ResultsError, match=r"raw_logits\.npz cannot be read"):
            read_fd_shifts(folder)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("external_confids", np.full((120, 2), 0.5), r"must have shape \(120\), got \(120, 2\)"),
        ("external_confids", np.full(119, 0.5), "has 119 entries, .* have 120"),
        ("external_confids", np.full(120, 1.5), "learned_confidence must be in"),
        ("raw_logits_dist", np.zeros((120, 4, 2)), r"must have shape \(120, 3, any\), got \(120, 4, 2\)"),
        ("raw_logits_dist", np.zeros((120, 3, 0)), "T >= 1"),
        ("encoded_output", np.zeros(120), r"must have shape \(120, any\), got \(120,\)"),
        ("encoded_output", np.zeros((120, 3)), "holds other test sets or another order"),
    ],
)
def test_files_that_do_not_fit_the_scores_are_refused_by_name(tmp_path, name, values, message):
    folder = experiment(tmp_path / "e", ext_confid_name="devries")
    np.savez(folder / "test_results" / "external_confids.npz", np.full(120, 0.5))
    assert errors_of(folder) == {"iid": 0.5, "clinic_b": 0.9}
    np.savez(folder / "test_results" / f"{name}.npz", values)
    with pytest.raises(ResultsError, match=message):
        read_fd_shifts(folder)


def test_logits_in_the_place_of_softmax_values_are_refused(tmp_path):
    folder = experiment(tmp_path / "e")
    raw = raw_of()
    raw[:, :3] -= 2
    (folder / "test_results" / "raw_logits.npz").unlink()
    np.savez(folder / "test_results" / "raw_output.npz", raw)
    with pytest.raises(ResultsError, match=r"raw_output\.npz must hold softmax values"):
        read_fd_shifts(folder)


def test_image_tables_belong_to_one_test_set(tmp_path):
    folder = experiment(tmp_path / "e")
    lines = "filepath\n" + "\n".join([__file__] * 40)
    (folder / "test_results" / "attributions.csv").write_text(lines)
    assert "images" not in read_fd_shifts(folder).test_sets["iid"].arrays  # one table, two test sets
    (folder / "test_results" / "attributions1.csv").write_text('filepath\n"a')
    with pytest.raises(ResultsError, match=r"attributions1\.csv cannot be read"):
        read_fd_shifts(folder)


def test_a_named_pipe_is_no_file_of_scores(tmp_path):
    os.mkfifo(tmp_path / "raw_logits.npz")
    with pytest.raises(FileNotFoundError, match="neither"):
        read_fd_shifts(tmp_path)
