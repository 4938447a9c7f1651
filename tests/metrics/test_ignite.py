"""The Ignite metrics: alone, on engines, in MONAI, from a config, and over two processes."""

from __future__ import annotations

import copy
import json
import pickle

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import DistributedSampler, TensorDataset

from helpers.forks import torchrun
from monai_sf import metrics
from monai_sf.metrics import AUGRC, AURC, EAUGRC, EAURC, ConfidenceAndError, FailureAUROC
from monai_sf.scores import CSFS

CLASSES = {AURC: "aurc", EAURC: "eaurc", AUGRC: "augrc", EAUGRC: "eaugrc", FailureAUROC: "failure_auroc"}
GENERATOR = torch.Generator().manual_seed(0)
CONFIDENCE = torch.randint(0, 30, (101,), generator=GENERATOR) / 30
ERROR = (torch.rand(101, generator=GENERATOR) < 0.3).long()


def expected(metric_class, confidence=CONFIDENCE, error=ERROR):
    return getattr(metrics, CLASSES[metric_class])(confidence, error)


@pytest.mark.parametrize("metric_class", CLASSES)
def test_no_cases_is_not_computable(metric_class):
    with pytest.raises(NotComputableError, match=f"{metric_class.__name__} needs at least one case"):
        metric_class().compute()


@pytest.mark.parametrize("batch_size", [1, 10, 101])
@pytest.mark.parametrize("metric_class", CLASSES)
def test_batches_give_the_value_of_the_function(metric_class, batch_size):
    metric = metric_class()
    for repetition in range(2):
        metric.reset()
        for c, e in zip(CONFIDENCE.split(batch_size), ERROR.split(batch_size), strict=True):
            metric.update((c, e))
        assert metric.compute() == expected(metric_class), repetition
    assert metric.compute() == expected(metric_class)


@pytest.mark.parametrize("metric_class", CLASSES)
def test_on_an_engine_over_two_epochs(metric_class):
    batches = [{"c": c, "e": e} for c, e in zip(CONFIDENCE.split(8), ERROR.split(8), strict=True)]
    engine = Engine(lambda _, batch: batch)
    metric_class(output_transform=lambda out: (out["c"], out["e"])).attach(engine, "value")
    state = engine.run(batches, max_epochs=2)
    assert state.metrics["value"] == expected(metric_class)


def test_an_engine_may_put_out_a_dict():
    engine = Engine(lambda _, batch: {"confidence": batch[0], "error": batch[1]})
    AURC().attach(engine, "value")
    batches = list(zip(CONFIDENCE.split(8), ERROR.split(8), strict=True))
    assert engine.run(batches).metrics["value"] == expected(AURC)


def test_an_engine_may_put_out_lists_of_single_values():
    engine = Engine(lambda _, batch: tuple(list(values.unbind()) for values in batch))
    AURC().attach(engine, "value")
    batches = list(zip(CONFIDENCE.split(8), ERROR.split(8), strict=True))
    assert engine.run(batches).metrics["value"] == expected(AURC)


def test_lists_of_single_values_and_other_dtypes():
    metric = AURC()
    metric.update((list(CONFIDENCE.half().unbind()), [e.reshape(1) for e in ERROR.bool()]))
    assert metric.compute() == expected(AURC, CONFIDENCE.half())
    metric.reset()
    metric.update((CONFIDENCE.numpy(), ERROR.double()))
    assert metric.compute() == expected(AURC)


def test_confidence_keeps_its_float64_precision():
    confidence = torch.tensor([-1e-20, -2e-20, 0.5, 0.5 + 1e-12], dtype=torch.float64)
    error = torch.tensor([0, 1, 1, 0])
    metric = AURC()
    metric.update((confidence, error))
    assert metric.compute() == expected(AURC, confidence, error)


@pytest.mark.parametrize("names", [True, False])
def test_a_case_that_comes_twice_counts_once(names):
    ids = [f"case_{i}" for i in range(101)] if names else torch.arange(101)
    metric = AURC()
    metric.update((CONFIDENCE, ERROR, ids))
    metric.update((CONFIDENCE[:30], ERROR[:30], ids[:30]))
    assert metric.compute() == expected(AURC)


def test_a_batch_without_a_case_changes_nothing():
    metric = AURC()
    metric.update((CONFIDENCE, ERROR, torch.arange(101)))
    for ids in ([], torch.arange(0)):
        metric.update((CONFIDENCE[:0], ERROR[:0], ids))
    assert metric.compute() == expected(AURC)


def test_without_ids_every_row_counts():
    metric = AURC()
    metric.update((CONFIDENCE, ERROR))
    metric.update((CONFIDENCE[:30], ERROR[:30]))
    everything = torch.cat([CONFIDENCE, CONFIDENCE[:30]]), torch.cat([ERROR, ERROR[:30]])
    assert metric.compute() == expected(AURC, *everything)


def test_ids_for_some_cases_only_are_refused():
    metric = AURC()
    metric.update((CONFIDENCE[:3], ERROR[:3], [1, 2, 3]))
    metric.update((CONFIDENCE[3:5], ERROR[3:5]))
    with pytest.raises(ValueError, match="for all cases or for none, got 3 of 5"):
        metric.compute()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ((CONFIDENCE,), "output must be .* got 1"),
        (CONFIDENCE, "output must be .* got Tensor"),
        ((CONFIDENCE, ERROR[:3]), "same length, got 101, 3 and 3"),
        ((CONFIDENCE, ERROR, [1]), "same length, got 101, 101 and 1"),
        (
            (CONFIDENCE[None], ERROR),
            r"confidence must be real of shape \(n,\), got torch.float32 of \(1, 101\)",
        ),
        ((CONFIDENCE, ERROR[:, None]), r"error must be real of shape \(n,\), got torch.int64 of \(101, 1\)"),
        ((CONFIDENCE.cfloat(), ERROR), "confidence must be real .* got torch.complex64"),
        ((CONFIDENCE, ERROR, CONFIDENCE), "case ids must be integers or strings, got torch.float32"),
        ((CONFIDENCE[:2], ERROR[:2], [1.5, 1.7]), "case ids must be integers or strings, got 1.5"),
        ((CONFIDENCE[:1], ERROR[:1], [2**63]), r"below 2\*\*63 as integers, got 9223372036854775808: give"),
        ((ERROR + 2**53, ERROR), "confidence must hold integers below 2"),
        ((CONFIDENCE, ERROR, torch.zeros(101, 1).long()), r"^case ids must be real of shape \(n,\)"),
        ((CONFIDENCE, ERROR + 2**53), "^error must hold integers below 2"),
        (([[0.5], ["a"]], ERROR[:2]), "confidence must be numbers, one per case"),
    ],
)
def test_bad_updates_are_refused(output, message):
    with pytest.raises(ValueError, match=message):
        AURC().update(output)


@pytest.mark.filterwarnings("error")
def test_ranks_and_grades_are_confidences_and_classes_are_told_where_that_is_possible():
    ranks, grades = CONFIDENCE.argsort().argsort(), (CONFIDENCE * 5).long()
    for confidence in (ranks, grades, grades.int(), ranks.tolist(), CONFIDENCE > 0.5):
        metric = AURC()
        metric.update((confidence, ERROR))
        assert metric.compute() == expected(AURC, torch.as_tensor(confidence), ERROR)
    AURC().update((1 - ERROR[:8], ERROR[:8]))  # a small batch says little
    AURC().update((1 - ERROR, ERROR.bool()))
    with pytest.warns(UserWarning, match="all 101 cases are integers 0 and 1: predicted and true classes?"):
        AURC().update((1 - ERROR, ERROR))
    metric = AURC()
    metric.update((ERROR, ERROR + 1))
    with pytest.raises(ValueError, match=r"error must lie in \[0, 1\]"):
        metric.compute()


def test_ids_may_be_whole_numbers_beyond_2_53_and_arrays_of_text():
    metric = AURC()
    for ids in (np.array([2**62, 2**62 + 1, 2**62]), [2**62, 2**62 + 1, 2**62]):
        metric.reset()
        metric.update((CONFIDENCE[:3], ERROR[:3], ids))
        assert metric.compute() == expected(AURC, CONFIDENCE[:2], ERROR[:2])
    metric.reset()
    metric.update((CONFIDENCE[:3], ERROR[:3], np.array(["a", "b", "a"])))
    assert metric.compute() == expected(AURC, CONFIDENCE[:2], ERROR[:2])


@pytest.mark.parametrize("metric_class", CLASSES)
def test_metrics_and_their_transform_can_be_pickled_and_copied(metric_class):
    transform = ConfidenceAndError("PE")
    transform((LOGITS, LABEL))
    metric = metric_class(transform, case_id="id")
    metric.update((CONFIDENCE, ERROR))
    for other in (pickled(metric), copy.deepcopy(metric)):
        assert other.compute() == expected(metric_class)
        other.attach(Engine(lambda _, batch: batch), "value")
    assert pickled(metric_class()).required_output_keys == ("confidence", "error")
    assert pickled(CSFS["PE"]) is CSFS["PE"]


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


def test_bad_values_are_refused_with_their_count():
    metric = AURC()
    metric.update((torch.tensor([0.5, torch.nan]), torch.tensor([0, 1])))
    with pytest.raises(ValueError, match="confidence must be finite, got 1 of 2"):
        metric.compute()
    metric = FailureAUROC()
    metric.update((torch.tensor([0.5, 0.2]), torch.tensor([0.5, 1])))
    with pytest.raises(ValueError, match="error must hold only 0 and 1"):
        metric.compute()


def test_auroc_of_one_class_warns_and_is_nan():
    metric = FailureAUROC()
    metric.update((CONFIDENCE, torch.zeros(101)))
    with pytest.warns(RuntimeWarning, match="not defined for 0 wrong among 101 cases"):
        assert np.isnan(metric.compute())


@pytest.mark.parametrize("metric_class", CLASSES)
def test_state_goes_through_a_file(metric_class, tmp_path):
    metric = metric_class()
    metric.update((CONFIDENCE[:40], ERROR[:40]))
    metric.update((CONFIDENCE[40:70], ERROR[40:70]))
    torch.save(metric.state_dict(), tmp_path / "state.pt")
    other = metric_class()
    other.update((torch.zeros(5), torch.ones(5)))
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    for resumed in (metric, other):
        resumed.update((CONFIDENCE[70:], ERROR[70:]))
        assert resumed.compute() == expected(metric_class)


LOGITS = torch.randn(23, 3, generator=GENERATOR) * 3
LABEL = torch.randint(0, 3, (23,), generator=GENERATOR)
CONFIG = {
    "net": {"_target_": "torch.nn.Identity"},
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "cpu",
        "val_data_loader": "@loader",
        "network": "@net",
        "decollate": True,
        "key_val_metric": {
            "val_aurc": {
                "_target_": "monai_sf.metrics.AURC",
                "output_transform": {"_target_": "monai_sf.metrics.ConfidenceAndError", "csf": "MSR"},
                "case_id": "case_id",
            }
        },
        "metric_cmp_fn": "$lambda current, best: current < best",
    },
}


@pytest.mark.parametrize("decollate", [True, False])
def test_key_metric_of_a_monai_evaluator_from_a_bundle_config(decollate):
    rows = [*range(23), 0, 1, 2]  # three cases twice, as a sampler that pads would give them
    data = [{"image": LOGITS[i], "label": LABEL[i], "case_id": f"case {i}"} for i in rows]
    parser = ConfigParser(json.loads(json.dumps(CONFIG)))
    parser["loader"] = DataLoader(Dataset(data), batch_size=4)
    parser["evaluator#decollate"] = decollate
    parser.parse()
    evaluator = parser.get_parsed_content("evaluator")
    assert isinstance(evaluator, SupervisedEvaluator)
    evaluator.run()
    confidence = CSFS["MSR"].confidence({"logits": LOGITS})
    value = metrics.aurc(confidence, LOGITS.argmax(1) != LABEL)
    assert evaluator.state.metrics["val_aurc"] == pytest.approx(value, abs=1e-15)
    assert evaluator.state.best_metric == pytest.approx(value, abs=1e-15)


def test_confidence_and_error_takes_tuples_and_every_array_a_csf_needs():
    confidence, error = ConfidenceAndError("PE")((LOGITS, LABEL[:, None]))
    torch.testing.assert_close(confidence, CSFS["PE"].confidence({"logits": LOGITS}))
    assert error.tolist() == (LOGITS.argmax(1) != LABEL).tolist()

    samples = LOGITS.flip(1).log_softmax(1)
    arrays = {"out": LOGITS, "mcd_log_softmax": samples, "mcd_entropy": LABEL.double(), "target": LABEL}
    transform = ConfidenceAndError("MCD-EE", logits="out", label="target")
    confidence, error = transform(arrays)
    assert confidence.tolist() == (-LABEL.double()).tolist()
    assert error.tolist() == (samples.argmax(1) != LABEL).tolist()
    rows = [{key: value[i] for key, value in arrays.items()} for i in range(23)]
    assert transform(rows)[1].tolist() == error.tolist()


def test_confidence_and_error_refuses_unknown_scores_and_other_labels():
    with pytest.raises(ValueError, match=r"csf must be one of MSR, PE, .* got 'softmax'"):
        ConfidenceAndError("softmax")
    with pytest.raises(ValueError, match="label must hold one class for each of 23 cases, got 69"):
        ConfidenceAndError()((LOGITS, torch.zeros(23, 3)))


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
@pytest.mark.parametrize("csf", ["MSR", "PE", "MaxLogit", "Margin", "Energy"])
def test_one_logit_is_a_binary_classifier(csf, shape):
    z = torch.randn(40, generator=GENERATOR) * 2
    label = (z + torch.randn(40, generator=GENERATOR) > 0).long()
    want = ConfidenceAndError(csf)((torch.stack([-z / 2, z / 2], 1), label))
    for labels in (label, label[:, None].float(), label.bool()):
        confidence, error = ConfidenceAndError(csf)((z.reshape(shape), labels))
        assert error.tolist() == ((z > 0).long() != label).tolist() == want[1].tolist()
        torch.testing.assert_close(confidence, want[0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3, 1, -1]), r"label must be whole numbers in 0\.\.2, .*; 2 of 4 are not: -1, 3"),
        (torch.tensor([0.5, 1, 1, 2]), "1 of 4 are not: 0.5"),
        (torch.tensor([torch.nan, 1, 1, 2]), "1 of 4 are not: nan"),
        (torch.tensor([True, False, True, False]), r"must be classes in 0\.\.2, got True and False"),
        (torch.eye(3)[[0, 1, 2, 0]], "one class for each of 4 cases, got 12; one-hot labels"),
        (torch.zeros(2, 2), "one class for each of 4 cases"),
    ],
)
def test_labels_that_are_no_class_of_the_logits_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        ConfidenceAndError()((LOGITS[:4], labels))


@pytest.mark.parametrize("batch_size", [1, 23])
@pytest.mark.parametrize(
    "wrong",
    [
        LOGITS.argmax(1),
        LOGITS.argmax(1, keepdim=True),
        LOGITS.argmax(1, keepdim=True).float(),
        LOGITS > 0,
        LOGITS.softmax(1),
        LOGITS.softmax(1) * 100,
        LOGITS.softmax(1).bfloat16(),
        LOGITS.softmax(1).half().float(),
        (LOGITS.softmax(1) * 100).round() / 100,
        torch.eye(3)[LOGITS.argmax(1)],
    ],
)
def test_what_is_no_logit_is_refused_in_batches_of_any_size(wrong, batch_size):
    engine = Engine(lambda _, batch: batch)
    AURC(ConfidenceAndError()).attach(engine, "aurc")
    batches = zip(wrong.split(batch_size), torch.zeros(23).split(batch_size), strict=True)
    with pytest.raises(ValueError, match="pred are (whole numbers|not negative and add up|True and False)"):
        engine.run(list(batches))


def test_a_reservation_needs_two_logits():
    arrays = {"pred": LOGITS[:, :1], "reservation_logit": LOGITS[:, 1], "label": LABEL % 2}
    with pytest.raises(ValueError, match=r"pred must be logits \(n, C\), got shape \(23, 1\)"):
        ConfidenceAndError("DG-RES")(arrays)


def test_outputs_of_different_shapes_are_named():
    rows = [{"pred": LOGITS[0], "label": 0}, {"pred": LOGITS[1, :2], "label": 0}]
    with pytest.raises(ValueError, match="pred must hold arrays of one shape, one per case"):
        ConfidenceAndError()(rows)


def in_one_of_two_processes(folder):
    with idist.Parallel(backend="gloo") as parallel:
        parallel.run(write_values, folder)


def write_values(_, folder):
    rank, out = idist.get_rank(), {}
    data = TensorDataset(CONFIDENCE, ERROR, torch.arange(len(ERROR)))
    # the first rank of 101 cases gets one more, and the sampler repeats the first case to even that out
    sampler = DistributedSampler(data, shuffle=False)
    out["sampled"] = len(sampler)
    engine = Engine(lambda _, batch: batch)
    for metric, name in CLASSES.items():
        metric().attach(engine, name)
    out["padded"] = engine.run(TorchLoader(data, batch_size=7, sampler=sampler)).metrics
    mine = slice(0, 80) if rank == 0 else slice(80, None)
    uneven = AURC()
    uneven.update((CONFIDENCE[mine], ERROR[mine]))
    state = uneven.state_dict()
    out["uneven"] = uneven.compute()
    resumed = AURC()
    resumed.load_state_dict(state)
    out["resumed"] = resumed.compute()
    alone = AURC()
    if rank == 1:
        alone.update((CONFIDENCE, ERROR, torch.arange(len(ERROR))))
    out["one empty"] = alone.compute()
    alone.reset()
    try:
        alone.compute()
    except NotComputableError:
        out["empty"] = True
    (folder / f"rank{rank}.json").write_text(json.dumps(out))


def test_two_processes_give_the_value_of_one(tmp_path):
    done = torchrun(in_one_of_two_processes, tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for out in outputs:
        assert out["sampled"] == 51
        assert out["padded"] == {name: expected(metric) for metric, name in CLASSES.items()}
        assert out["uneven"] == out["resumed"] == out["one empty"] == expected(AURC)
        assert out["empty"]
