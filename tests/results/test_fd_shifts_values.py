"""What is read from folders of FD-Shifts has the values that were stored there."""

import numpy as np
import pytest
import torch

from monai_sf.results import ResultsError, read_fd_shifts
from monai_sf.tables.judge import failure_detection

RNG = np.random.default_rng(0)
N, C = 12, 3
LOGITS = RNG.normal(size=(N, C))
LABELS = RNG.integers(0, C, N)
SAMPLES = LOGITS[:, None] + RNG.normal(size=(N, 7, C))


def softmax(z):
    return torch.softmax(torch.from_numpy(np.asarray(z)), dim=-1).numpy()


CONFIG = """
data: {dataset: dermoscopyall}
exp: {global_seed: 7}
model: {name: confidnet_model_mod, dg_reward: 2.2}
eval:
  val_tuning: true
  ext_confid_name: tcp
  query_studies:
    iid_study: dermoscopyall
    noise_study: []
    in_class_study: [dermoscopyallcorrbrhigh, dermoscopyallcorrgaunoilowlow, dermoscopyallbarcelona]
    new_class_study: []
"""


@pytest.fixture(params=["raw_logits", "raw_output"])
def experiment(request, tmp_path):
    """12 cases: two of validation, then iid, two corruptions and a target of two or three each."""
    index = np.array([0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 4])
    outputs = tmp_path / "test_results"
    outputs.mkdir()
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "config.yaml").write_text(CONFIG)
    logits = request.param == "raw_logits"
    scores, samples = (LOGITS, SAMPLES) if logits else (softmax(LOGITS), softmax(SAMPLES))
    np.savez(outputs / f"{request.param}.npz", np.column_stack([scores, LABELS, index]))
    np.savez(outputs / f"{request.param}_dist.npz", samples.transpose(0, 2, 1))
    np.savez(outputs / "external_confids.npz", np.linspace(0.1, 0.9, N))
    np.savez(outputs / "encoded_output.npz", np.column_stack([LOGITS[:, :2], index]))
    for i in range(5):
        lines = [f"/somewhere/{k}.png" for k in np.flatnonzero(index == i)]
        (outputs / f"attributions{i}.csv").write_text("filepath\n" + "\n".join(lines) + "\n")
    return tmp_path


def test_folders_of_the_papers_code_are_read(experiment):
    run = read_fd_shifts(experiment)
    assert {name: len(s) for name, s in run.test_sets.items()} == {
        "iid": 3,
        "corruption-brightness_up-1": 2,
        "corruption-gaussian_noise-2": 2,
        "dermoscopyallbarcelona": 3,
    }
    assert (run.run["method"], run.run["seed"], run.run["dataset"]) == ("confidnet", 7, "dermoscopyall")
    iid = slice(2, 5)
    np.testing.assert_array_equal(run.labels_of("iid"), LABELS[iid])
    found = failure_detection(run, "iid", "MSR")
    np.testing.assert_allclose(np.exp(found.confidence), softmax(LOGITS)[iid].max(1), rtol=1e-5)
    mean = softmax(SAMPLES).mean(1)[iid].max(1)
    np.testing.assert_allclose(np.exp(failure_detection(run, "iid", "MCD-MSR").confidence), mean, rtol=1e-5)
    variance = softmax(SAMPLES)[iid].var(1).mean(1)
    np.testing.assert_allclose(failure_detection(run, "iid", "MCD-SV").confidence, -variance, rtol=1e-5)
    learned = failure_detection(run, "dermoscopyallbarcelona", "ConfidNet").confidence
    np.testing.assert_allclose(np.exp(learned), np.linspace(0.1, 0.9, N)[9:], rtol=1e-5)
    features = run.test_sets["iid"].arrays["features"]
    np.testing.assert_array_equal(features, LOGITS[iid, :2].astype(np.float32))
    assert "images" not in run.test_sets["iid"].arrays
    # these corrupted sets are shorter than the iid one, so they cannot be copies of its cases
    assert not set(run.test_sets["iid"].rows) & set(run.test_sets["corruption-brightness_up-1"].rows)
    assert read_fd_shifts(experiment / "test_results").cases.equals(run.cases)


def write_experiment(folder, sizes, config, **arrays):
    """An experiment whose test sets have these sizes and labels that repeat 0, 1, 2."""
    index = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.concatenate([np.arange(size) % C for size in sizes])
    rng = np.random.default_rng(1)
    (folder / "hydra").mkdir(parents=True)
    (folder / "hydra" / "config.yaml").write_text(config)
    (folder / "test_results").mkdir()
    scores = arrays.pop("scores", rng.normal(size=(len(index), C)))
    np.savez(folder / "test_results" / "raw_logits.npz", np.column_stack([scores, labels, index]))
    for name, values in arrays.items():
        np.savez(folder / "test_results" / f"{name}.npz", values)
    return folder


STUDIES = """
data: {{dataset: lidc_idriall}}
model: {{name: {model}, dg_reward: {reward}}}
eval:
  val_tuning: false
  ext_confid_name: {confidence}
  query_studies: {studies}
"""


def test_studies_may_be_empty_or_hold_configs(tmp_path):
    studies = (
        "{iid_study: '${data.dataset}', in_class_study: [lidc_idriall_spiculation_ood, clinic b, clinic-b], "
        "noise_study: {dataset: null}, new_class_study: [{dataset: cifar10}], sub_class_study: null, "
        "other: {dataset: 'lidc_idriallcorrgaunoilow'}, more: lidc_idriallcorrgaunoihigh}"
    )
    config = STUDIES.format(model="confidnet_model", reward=2.2, confidence="tcp", studies=studies)
    run = read_fd_shifts(write_experiment(tmp_path / "e", [4, 3, 3, 3, 5, 4, 4], config))
    assert {name: (s.kind, len(s)) for name, s in run.test_sets.items()} == {
        "iid": ("iid", 4),
        "lidc_idriall_spiculation_ood": ("manifestation", 3),
        "clinic-b": ("acquisition", 3),
        "clinic-b-2": ("acquisition", 3),
        "cifar10": ("new_class", 5),
        "corruption-gaussian_noise-1": ("corruption", 4),
        "corruption-gaussian_noise_high-1": ("corruption", 4),
    }
    # corrupted sets of the same labels in the same order are the iid cases
    np.testing.assert_array_equal(
        run.test_sets["corruption-gaussian_noise-1"].rows, run.test_sets["iid"].rows
    )
    assert len(run.cases) == 4 + 3 + 3 + 3 + 5


@pytest.mark.parametrize(
    ("model", "reward", "confidence", "method"),
    [
        ("confidnet_model_mod", 2.2, "tcp", "confidnet"),
        ("devries_model_mod", -1, "devries", "devries"),
        ("devries_model", 10, "dg", "deepgamblers"),
        ("vit_model", 0, "maha", "classifier"),
        ("devries_model", 6, "null", "devries"),
    ],
)
def test_the_learned_confidence_tells_the_way_of_training(tmp_path, model, reward, confidence, method):
    config = STUDIES.format(model=model, reward=reward, confidence=confidence, studies="{iid_study: a}")
    run = read_fd_shifts(write_experiment(tmp_path / "e", [9], config, external_confids=np.full((9, 1), 0.5)))
    assert run.run["method"] == method
    learned = {"confidence_logit", "reservation_logit"} & set(run.test_sets["iid"].arrays)
    assert bool(learned) == (method != "classifier")


def test_softmax_values_of_deep_gamblers_are_no_logits(tmp_path):
    # their Deep Gamblers stores the first C of C + 1 softmax values in raw_logits.npz
    shares = softmax(np.random.default_rng(2).normal(size=(9, C + 1)))
    config = STUDIES.format(model="devries_model", reward=10, confidence="dg", studies="{iid_study: a}")
    logits = np.random.default_rng(3).normal(size=(9, C, 4))
    folder = write_experiment(
        tmp_path / "e", [9], config, scores=shares[:, :C], external_confids=1 - shares[:, C],
        raw_logits_dist=logits,
    )  # fmt: skip
    run = read_fd_shifts(folder)
    arrays = run.test_sets["iid"].arrays
    expected = shares[:, :C] / shares[:, :C].sum(1, keepdims=True)
    np.testing.assert_allclose(softmax(arrays["logits"].astype(float)), expected, rtol=1e-5)
    reservation = failure_detection(run, "iid", "DG-RES").confidence
    np.testing.assert_allclose(np.exp(reservation), 1 - shares[:, C], rtol=1e-5)
    mean = softmax(logits.transpose(0, 2, 1)).mean(1)
    np.testing.assert_allclose(np.exp(arrays["mcd_log_softmax"]), mean, rtol=1e-5)


def test_half_precision_softmax_is_read(tmp_path):
    halves = softmax(np.random.default_rng(4).normal(size=(6, C)) * 3).astype(np.float16)
    np.savez(tmp_path / "raw_output.npz", np.column_stack([halves * 0.99, np.arange(6) % C, np.zeros(6)]))
    logits = read_fd_shifts(tmp_path).test_sets["iid"].arrays["logits"].astype(float)
    np.testing.assert_allclose(softmax(logits), halves / halves.sum(1, keepdims=True), atol=2e-3)


def test_a_score_that_is_missing_is_named(tmp_path):
    config = STUDIES.format(model="devries_model", reward=0, confidence="devries", studies="{iid_study: a}")
    with pytest.raises(ResultsError, match=r"no external_confids\.npz, the confidence of devries"):
        read_fd_shifts(write_experiment(tmp_path / "e", [9], config))


def test_half_precision_logits_keep_their_labels(tmp_path):
    # their monitor concatenates scores, labels and index in the precision of the scores
    halves = np.random.default_rng(5).normal(size=(6, 40)).astype(np.float16)
    labels = np.array([0, 7, 39, 12, 39, 1])
    stored = np.column_stack([halves, labels.astype(np.float16), np.zeros(6, np.float16)])
    np.savez(tmp_path / "raw_logits.npz", stored)
    np.savez(tmp_path / "raw_logits_dist.npz", halves[:, :, None].repeat(3, axis=2))
    np.savez(tmp_path / "encoded_output.npz", np.column_stack([halves, np.zeros(6, np.float16)]))
    run = read_fd_shifts(tmp_path)
    np.testing.assert_array_equal(run.labels_of("iid"), labels)
    np.testing.assert_array_equal(run.test_sets["iid"].arrays["logits"], halves)
    np.testing.assert_allclose(
        np.exp(run.test_sets["iid"].arrays["mcd_log_softmax"]), softmax(halves.astype(float)), rtol=1e-5
    )


def test_files_of_another_length_are_named(tmp_path):
    config = STUDIES.format(model="m", reward=0, confidence="tcp", studies="{iid_study: a}")
    folder = write_experiment(tmp_path / "e", [9], config, external_confids=np.full(8, 0.5))
    with pytest.raises(ResultsError, match=r"external_confids\.npz has 8 entries, .* have 9"):
        read_fd_shifts(folder)
    (folder / "hydra" / "config.yaml").write_text("a: [")
    with pytest.raises(ResultsError, match=r"config\.yaml is not YAML"):
        read_fd_shifts(folder)


def test_cases_of_untrained_classes_are_left_out(tmp_path):
    labels = np.where(np.arange(N) < 4, 99, LABELS)
    np.savez(tmp_path / "raw_logits.npz", np.column_stack([LOGITS, labels, np.zeros(N)]))
    assert len(read_fd_shifts(tmp_path).test_sets["iid"]) == N - 4


def test_a_folder_without_outputs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither raw_logits\.npz nor"):
        read_fd_shifts(tmp_path)


def test_a_damaged_file(tmp_path):
    (tmp_path / "raw_output.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ResultsError, match=r"raw_output\.npz cannot be read"):
        read_fd_shifts(tmp_path)
