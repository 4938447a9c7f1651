import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from monai_sf.results import Results, ResultsError, load_results
from monai_sf.scores import dropout_arrays
from monai_sf.tables.judge import available_csfs, failure_detection

RNG = np.random.default_rng(0)
N, C = 12, 3
LOGITS = RNG.normal(size=(N, C))
LABELS = RNG.integers(0, C, N)
SAMPLES = LOGITS[:, None] + RNG.normal(size=(N, 7, C))


def softmax(z):
    return torch.softmax(torch.from_numpy(np.asarray(z)), dim=-1).numpy()


def test_two_arrays_are_enough():
    run = Results.from_arrays(LOGITS, LABELS)
    np.testing.assert_array_equal(run.labels_of("iid"), LABELS)
    found = failure_detection(run, "iid", "MSR")
    np.testing.assert_array_equal(found.error, (LOGITS.argmax(1) != LABELS) * 1.0)
    np.testing.assert_allclose(np.exp(found.confidence), softmax(LOGITS).max(1), rtol=1e-6)


def test_probabilities_and_logits_give_the_same_scores():
    from_logits = Results.from_arrays(LOGITS, LABELS, mcd_samples=SAMPLES)
    from_probabilities = Results.from_arrays(
        probabilities=softmax(LOGITS), labels=LABELS, mcd_samples=softmax(SAMPLES)
    )
    for csf in ("MSR", "PE", "MCD-MSR", "MCD-PE", "MCD-EE"):
        a, b = (failure_detection(r, "iid", csf) for r in (from_logits, from_probabilities))
        np.testing.assert_allclose(a.confidence, b.confidence, rtol=1e-5)
        np.testing.assert_array_equal(a.prediction, b.prediction)


@pytest.mark.parametrize("gap", [1.0, 30.0, 60.0])
def test_dropout_samples_of_confident_cases_do_not_tie(gap):
    samples = np.zeros((4, 3, 2))
    samples[..., 0] = gap + np.arange(12).reshape(4, 3)
    run = Results.from_arrays(samples.mean(axis=1), np.zeros(4, int), mcd_samples=samples)
    arrays = run.test_sets["iid"].arrays
    for name, expected in dropout_arrays(np.moveaxis(samples, 1, 0)).items():
        np.testing.assert_allclose(arrays[name], expected, rtol=1e-6, atol=0, err_msg=name)
        assert len(set(arrays[name].reshape(4, -1)[:, 0].tolist())) == 4, name


def test_dropout_samples_are_reduced_as_defined():
    run = Results.from_arrays(LOGITS, LABELS, mcd_samples=SAMPLES)
    p = softmax(SAMPLES)
    mean = failure_detection(run, "iid", "MCD-MSR")
    np.testing.assert_allclose(np.exp(mean.confidence), p.mean(1).max(1), rtol=1e-6)
    expected = -(-(p * np.log(p)).sum(2)).mean(1)
    np.testing.assert_allclose(failure_detection(run, "iid", "MCD-EE").confidence, expected, rtol=1e-6)
    expected = -p.var(1).mean(1)
    np.testing.assert_allclose(failure_detection(run, "iid", "MCD-SV").confidence, expected, rtol=1e-6)


def test_views_are_reduced_as_defined_and_predict_by_their_mean():
    for given in ({"logits": LOGITS, "tta_samples": SAMPLES}, {"probabilities": softmax(LOGITS)}):
        run = Results.from_arrays(labels=LABELS, **{"tta_samples": softmax(SAMPLES), **given})
        mean = softmax(SAMPLES).mean(1)
        found = failure_detection(run, "iid", "TTA-PE")
        np.testing.assert_allclose(found.confidence, (mean * np.log(mean)).sum(1), rtol=1e-5)
        np.testing.assert_array_equal(found.prediction, mean.argmax(1))
        assert (found.prediction != LOGITS.argmax(1)).any()
        assert not any(csf.startswith("MCD") for csf in available_csfs(run))


def test_a_class_that_a_sample_rules_out_costs_no_score_of_others():
    samples = SAMPLES.copy()
    samples[0, 2, samples[0].mean(axis=0).argmin()] = -np.inf
    run = Results.from_arrays(LOGITS, LABELS, mcd_samples=samples)
    assert {"MCD-MSR", "MCD-EE", "MCD-SV", "MCD-WAIC"} <= set(available_csfs(run))
    for csf in available_csfs(run):
        failure_detection(run, "iid", csf)
    samples[0, 2] = [-np.inf, 0, 0]  # its predicted class: WAIC is minus infinity, and undefined as a score
    samples[0, :2, 0] = samples[0, 3:, 0] = 9
    run = Results.from_arrays(LOGITS, LABELS, mcd_samples=samples)
    failure_detection(run, "iid", "MCD-SV")
    with pytest.raises(ResultsError, match="MCD-WAIC is NaN or infinite for 1 cases"):
        failure_detection(run, "iid", "MCD-WAIC")


@pytest.mark.parametrize(
    ("method", "csf"), [(None, "ConfidNet"), ("devries", "DeVries"), ("deepgamblers", "DG-RES")]
)
def test_learned_confidences_come_back(method, csf):
    confidence = np.linspace(0.05, 0.95, N)
    run = Results.from_arrays(LOGITS, LABELS, learned_confidence=confidence, method=method)
    assert csf in available_csfs(run)
    np.testing.assert_allclose(np.exp(failure_detection(run, "iid", csf).confidence), confidence, rtol=1e-5)


def test_certain_probabilities_and_confidences_stay_finite():
    certain = np.eye(C)[LABELS]
    run = Results.from_arrays(
        probabilities=certain, labels=LABELS, learned_confidence=np.repeat([0.0, 1.0], N // 2)
    )
    assert not failure_detection(run, "iid", "MSR").error.any()
    assert np.isfinite(failure_detection(run, "iid", "ConfidNet").confidence).all()


def test_domains_become_test_sets_and_one_case_may_be_in_several():
    half = N // 2
    ids = [f"case{i}" for i in range(half)] * 2
    labels = np.tile(LABELS[:half], 2)
    domains = ["corruption-gaussian_noise-3"] * half + ["iid"] * half
    run = Results.from_arrays(LOGITS, labels, case_ids=ids, domains=domains, columns={"group": ids})
    assert len(run.cases) == half
    noisy = run.test_sets["corruption-gaussian_noise-3"]
    assert (noisy.kind, noisy.corruption, noisy.severity) == ("corruption", "gaussian_noise", 3)
    np.testing.assert_array_equal(noisy.rows, run.test_sets["iid"].rows)
    np.testing.assert_array_equal(noisy.arrays["logits"], LOGITS[:half].astype(np.float32))
    assert run.cases["group"].tolist() == run.cases["case_id"].tolist()


def test_columns_may_be_a_frame_with_any_index():
    frame = pd.DataFrame({"view": list("abcabcabcabc")}, index=range(100, 112))
    run = Results.from_arrays(LOGITS, LABELS, columns=frame)
    assert run.cases["view"].tolist() == frame["view"].tolist()


def test_targets_may_be_of_both_kinds():
    domains = ["iid"] * 4 + ["clinic-b"] * 4 + ["rare"] * 4
    run = Results.from_arrays(LOGITS, LABELS, domains=domains, kinds={"rare": "manifestation"})
    assert [s.kind for s in run.test_sets.values()] == ["iid", "acquisition", "manifestation"]
    assert run.run["study"] == "clinic-b"


def test_domains_may_have_the_names_of_hospitals(tmp_path):
    domains = ["iid"] * 4 + ["Hospital Clínic (Barcelona)"] * 4 + ["Site A / 2"] * 4
    Results.from_arrays(LOGITS, LABELS, domains=domains).save(tmp_path / "run")
    assert list(load_results(tmp_path / "run").test_sets) == list(dict.fromkeys(domains))


def test_images_may_be_files(tmp_path):
    paths = []
    for i in range(N):
        picture = np.zeros((10, 20, 3), np.uint8)
        picture[:, :10] = 20 * i
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        paths.append(str(tmp_path / f"{i}.png"))
    images = Results.from_arrays(LOGITS, LABELS, images=paths).test_sets["iid"].arrays["images"]
    assert images.shape == (N, 64, 64, 3)
    assert [int(image[32, 10, 0]) for image in images] == [20 * i for i in range(N)]
    assert (images[5, 20:44, 40:] == 0).all()


def test_torch_tensors_and_columns_of_pandas_are_numbers():
    half = Results.from_arrays(
        torch.tensor(LOGITS).bfloat16().requires_grad_(),
        torch.tensor(LABELS),
        case_ids=torch.arange(N),
        images=torch.zeros((N, 8, 8), dtype=torch.uint8),
    )
    expected = torch.tensor(LOGITS).bfloat16().float().numpy()
    np.testing.assert_array_equal(half.test_sets["iid"].arrays["logits"], expected)
    assert half.cases["case_id"].tolist() == [str(i) for i in range(N)]
    labels = pd.Series(LABELS, index=range(50, 50 + N))
    run = Results.from_arrays(pd.DataFrame(LOGITS), labels, columns={"age": labels})
    assert run.cases["age"].tolist() == run.cases["label"].tolist() == LABELS.tolist()


def test_images_may_be_arrays_of_different_sizes():
    pictures = [np.full((20, 10 + i), 250, np.uint8) for i in range(N)]
    images = Results.from_arrays(LOGITS, LABELS, images=pictures).test_sets["iid"].arrays["images"]
    assert images.shape == (N, 64, 64, 3)
    assert images[0, :, 16:48].min() == 250  # 10 by 20 pixels, not 20 by 10
    assert images[0, :, :15].max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_wrong_dtype_is_named_as_the_caller_has_it(dtype):
    said = str(dtype).removeprefix("torch.")
    with pytest.raises(ResultsError, match=rf"images must be uint8, .* got {said} "):
        Results.from_arrays(LOGITS, LABELS, images=torch.zeros((N, 8, 8), dtype=dtype))
    with pytest.raises(ResultsError, match=rf"images\[0\] must be uint8, .* got {said} "):
        Results.from_arrays(LOGITS, LABELS, images=[torch.zeros((8, 8), dtype=dtype)] * N)
    with pytest.raises(ResultsError, match=rf"labels must be .* dtype {said}$"):
        Results.from_arrays(LOGITS, torch.tensor(LABELS).to(dtype))


def test_turned_photos_are_upright_and_files_of_several_images_refused(tmp_path):
    left_bright = np.zeros((8, 8), np.uint8)
    left_bright[:, :4] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # stored so that a turn to the right shows it
    Image.fromarray(np.rot90(left_bright)).save(tmp_path / "x.png", exif=exif)
    images = Results.from_arrays(LOGITS, LABELS, images=[tmp_path / "x.png"] * N).test_sets["iid"].arrays
    assert images["images"][0, :, :28].min() > 240
    first = Image.fromarray(left_bright)
    first.save(tmp_path / "x.tif", save_all=True, append_images=[first])
    with pytest.raises(ResultsError, match=r"images\[0\]: .*x\.tif holds 2 images"):
        Results.from_arrays(LOGITS, LABELS, images=[tmp_path / "x.tif"] * N)
    listed = [tmp_path / "x.png", tmp_path / "x.tif", *[tmp_path / "none.png"] * (N - 2)]
    with pytest.raises(ResultsError, match=rf"(?s)^{N - 1} of {N} images .*\[1\].*\[2\].*and {N - 11} more$"):
        Results.from_arrays(LOGITS, LABELS, images=listed)


def test_one_logit_is_a_binary_classifier():
    one, label = LOGITS[:, 0], LABELS % 2
    two = Results.from_arrays(np.column_stack([0 * one, one]), label, mcd_samples=SAMPLES[:, :, :2])
    for logits in (one, one[:, None]):
        run = Results.from_arrays(
            logits, label, mcd_samples=SAMPLES[:, :, 1:2] - SAMPLES[:, :, :1], learned_confidence=label
        )
        for csf in ("MSR", "PE", "MCD-MSR", "MCD-EE"):
            found, expected = (failure_detection(r, "iid", csf) for r in (run, two))
            np.testing.assert_allclose(found.confidence, expected.confidence, rtol=1e-5)
            np.testing.assert_array_equal(found.error, expected.error)
    with pytest.raises(ResultsError, match=r"label must be an integer in 0\.\.1"):
        Results.from_arrays(one, LABELS)


def test_probabilities_add_up_within_the_precision_they_have():
    exact = softmax(np.random.default_rng(6).normal(size=(60, 8)))
    label = np.arange(60) % 8
    for given in (torch.tensor(exact).bfloat16(), torch.tensor(exact).bfloat16().float(), exact.round(2)):
        run = Results.from_arrays(probabilities=given, labels=label, mcd_samples=given[:, None])
        stored = run.test_sets["iid"].arrays["logits"].astype(float)
        np.testing.assert_allclose(softmax(stored), exact, atol=0.02)
        with pytest.raises(ResultsError, match="they are probabilities"):
            Results.from_arrays(given, label)
    with pytest.raises(ResultsError, match="add up to 1; 60 rows do not"):
        Results.from_arrays(probabilities=exact * 1.02, labels=label)


def test_cases_are_told_apart_by_position():
    index = [3, 3, 1] * 4
    run = Results.from_arrays(
        pd.DataFrame(LOGITS, index=index),
        pd.Series(LABELS, index=range(N)),
        case_ids=list(torch.arange(N)),
        columns=pd.DataFrame({"age": LABELS}, index=index),
        domains=pd.Series(["b"] * N, index=index),
        kinds=pd.Series({"b": "manifestation"}),
    )
    assert run.cases["age"].tolist() == run.cases["label"].tolist() == LABELS.tolist()
    assert run.cases["case_id"].tolist() == [str(i) for i in range(N)]
    assert run.test_sets["b"].kind == "manifestation"


def test_a_confidence_may_exceed_one_by_rounding():
    run = Results.from_arrays(LOGITS, LABELS, learned_confidence=np.full(N, 1.0000001))
    assert np.isfinite(failure_detection(run, "iid", "ConfidNet").confidence).all()


def test_pictures_of_16_bits_are_shown_in_the_range_of_their_type(tmp_path):
    Image.fromarray(np.full((8, 8), 51 * 257, np.uint16)).save(tmp_path / "x.png")
    run = Results.from_arrays(LOGITS, LABELS, images=[tmp_path / "x.png"] * N)
    images = run.test_sets["iid"].arrays["images"]
    assert set(images.ravel().tolist()) == {51}


def test_saved_and_loaded(tmp_path):
    run = Results.from_arrays(LOGITS, LABELS, features=LOGITS, mcd_samples=SAMPLES)
    run.save(tmp_path / "run")
    loaded = load_results(tmp_path / "run")
    np.testing.assert_array_equal(
        loaded.test_sets["iid"].arrays["features"], run.test_sets["iid"].arrays["features"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logits": LOGITS}, "labels are missing"),
        ({"labels": LABELS}, "either logits or probabilities"),
        ({"logits": LOGITS, "probabilities": LOGITS, "labels": LABELS}, "either logits or probabilities"),
        ({"logits": LOGITS[:5], "labels": LABELS}, r"logits must be .* 12 rows .*\(5, 3\)"),
        ({"logits": LOGITS, "labels": LABELS * 1.0}, "integers, got shape .* float64"),
        ({"logits": LOGITS, "labels": LABELS + 3}, r"label must be an integer in 0\.\.2"),
        ({"probabilities": LOGITS, "labels": LABELS}, "add up to 1; .* Are they logits"),
        ({"logits": LOGITS, "labels": LABELS, "features": LOGITS[:3]}, "features must be .* 12 rows"),
        ({"logits": LOGITS, "labels": LABELS, "mcd_samples": LOGITS}, "mcd_samples must be"),
        ({"logits": LOGITS, "labels": LABELS, "learned_confidence": np.full(N, 2)}, "12 values are not"),
        ({"logits": LOGITS, "labels": LABELS, "images": np.zeros((N, 4, 4))}, "images must be uint8"),
        (
            {"logits": LOGITS, "labels": LABELS, "images": ["/none.png"] * N},
            r"\[0\]: /none.png is not",
        ),
        ({"logits": LOGITS, "labels": LABELS, "case_ids": ["a"] * 3}, "case_ids must have 12 entries"),
        ({"logits": LOGITS, "labels": LABELS, "case_ids": ["a"] * N}, "labels differ .* one case id: a"),
        ({"logits": LOGITS, "labels": LABELS * 0, "case_ids": ["a"] * N}, "11 cases occur twice"),
        ({"logits": LOGITS, "labels": LABELS, "class_names": ["a"]}, "class_names must hold 3 names"),
        ({"logits": LOGITS, "labels": LABELS, "columns": {"g": [1]}}, "column g must have 12"),
        ({"logits": LOGITS, "labels": LABELS, "kinds": {"a": "b"}}, r"kinds must be among .* \['b'\]"),
        (
            {"logits": LOGITS, "labels": LABELS, "kinds": {"b": "corruption"}, "domains": ["b"] * N},
            r"kinds must be among .* \['corruption'\]",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "kinds": {"c": "acquisition"}, "domains": ["b"] * N},
            r"target domains, \['b'\]; \['c'\] are not",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "domains": ["corruption-blur-6"] * N},
            r"<1 to 5>\", got \['corruption-blur-6'\]",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "columns": {"label": LABELS, "case_id": LABELS}},
            r"columns must not hold \['case_id', 'label'\]",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "class_names": ["a", "b", "a"]},
            r"must differ; .* \['a'\]",
        ),
        ({"logits": softmax(LOGITS), "labels": LABELS}, "logits are not negative .* they are probabilities"),
        (
            {"logits": LOGITS, "labels": LABELS, "mcd_samples": softmax(SAMPLES)},
            "mcd_samples are not negative .* they are probabilities",
        ),
        ({"logits": LOGITS, "labels": LABELS, "mcd_samples": SAMPLES[:, :0]}, "T >= 1"),
        ({"logits": LOGITS, "labels": LABELS, "tta_samples": LOGITS}, r"tta_samples must be \(N, V, C\)"),
        ({"probabilities": softmax(LOGITS)[:, :1], "labels": LABELS * 0}, "at least two classes"),
        ({"logits": LABELS, "labels": LABELS}, "logits are whole numbers, one per case"),
        ({"logits": np.eye(C)[LABELS], "labels": LABELS}, "probabilities or one-hot classes"),
        (
            {"logits": LOGITS, "labels": LABELS, "columns": {1: LABELS, "1": LABELS}},
            r"different names; these occur twice: \['1'\]",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "learned_confidence": np.full(N, 1.0001)},
            r"12 values are not: 1\.0001",
        ),
        (
            {"logits": pd.DataFrame(LOGITS), "labels": pd.Series(LABELS)[::-1]},
            "labels and logits have the same index in another order",
        ),
        ({"logits": LOGITS * 1j, "labels": LABELS}, "logits must be real numbers, got dtype complex128"),
        ({"logits": [[1.0, 2.0], [1.0]], "labels": [0, 1]}, "logits must be real numbers in an array"),
        ({"logits": LOGITS, "labels": LABELS, "images": [None] * N}, r"images\[0\] must be an array or"),
        (
            {"logits": LOGITS, "labels": LABELS, "images": [np.zeros((4, 4 + i)) for i in range(N)]},
            r"images\[0\] must be uint8",
        ),
        (
            {"logits": LOGITS, "labels": LABELS, "images": [np.zeros(16, np.uint8)] * N},
            r"images\[0\] must be uint8, .* \(16,\)",
        ),
        ({"logits": LOGITS, "labels": LABELS, "method": "my net"}, "method must begin .*, got .my net."),
        ({"logits": LOGITS, "labels": LABELS, "method": "devries"}, "needs its learned_confidence"),
        (
            {"logits": LOGITS, "labels": LABELS, "learned_confidence": LABELS / N, "method": "classifier"},
            "has no learned_confidence",
        ),
        ({"logits": LOGITS, "labels": LABELS, "data_kind": "Phantom"}, "data_kind must be one of"),
        ({"logits": LOGITS * np.nan, "labels": LABELS}, "logits is NaN or infinite"),
    ],
)
def test_bad_arrays_are_named(arguments, message):
    with pytest.raises(ResultsError, match=message):
        Results.from_arrays(**arguments)


def from_groups(groups, **options):
    label = np.arange(len(groups)) % 2
    return Results.from_arrays(np.eye(2)[label] * 3, label, columns={"group": groups}, **options)


def test_a_placeholder_for_most_patients_is_refused_and_one_patient_is_not():
    with pytest.raises(ResultsError, match="column group: 20 of 22 cases have the group 'Anonymous', which"):
        from_groups(["Anonymous"] * 20 + ["p", "q"])
    assert from_groups(["p"] * 20).cases["group"].tolist() == ["p"] * 20


def test_what_was_united_or_is_missing_is_logged(caplog):
    results = from_groups(["P1", "p1 ", None, "unknown"], case_ids=["a", "A", "b", "c"])
    assert results.cases["group"].dropna().tolist() == ["P1", "p1 ", "unknown"]  # as given
    assert "1 group is spelled in more than one way" in caplog.text
    assert "2 of 4 cases have no group id" in caplog.text
    assert "2 case ids differ from another one in spelling only ('A' = 'a')" in caplog.text


@pytest.mark.parametrize("nothing", [None, float("nan"), "", " "])
def test_a_case_without_a_name_is_refused(nothing):
    with pytest.raises(ResultsError, match="case_ids: 2 of 4 are empty or NaN"):
        from_groups(["p"] * 4, case_ids=["a", nothing, nothing, "b"])


def test_a_case_and_its_corrupted_version_are_of_one_patient():
    domains = ["iid", "iid", "corruption-blur-1", "corruption-blur-1"]
    found = from_groups([None, "q", "P1", "Q "], case_ids=list("abab"), domains=domains)
    assert found.cases["group"].tolist() == ["P1", "q"]
    with pytest.raises(ResultsError, match="column group differs between entries of one case id: a"):
        from_groups(["p", "q", "r", "q"], case_ids=list("abab"), domains=domains)
