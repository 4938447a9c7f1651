"""Evaluation: go on after an interruption, with the same network, cases and settings only."""

import errno

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai_sf.transforms import CorruptionSweep

from helpers.toy_engines import KINDS, flip_a_bit, make_evaluator
from helpers.toy_problem import tiny_network
from monai_sf.inferers import MCDropoutInferer
from monai_sf.results import ResultsError, TestSetWriter, load_results


def interrupted(folder, after=3, **changes):
    broken = make_evaluator(folder, **changes)

    def interrupt(engine):
        if engine.state.iteration == after:
            raise KeyboardInterrupt

    broken.add_event_handler(Events.ITERATION_COMPLETED, interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.run()


@pytest.mark.parametrize("after", [1, 4, 7])
def test_an_interrupted_evaluation_goes_on(evaluated, tmp_path, after):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    interrupted(tmp_path, after)
    with pytest.raises(FileNotFoundError, match="has not finished"):
        load_results(tmp_path / "results")
    resumed = make_evaluator(tmp_path)
    resumed.run()
    one, two = load_results(evaluated / "results"), load_results(tmp_path / "results")
    assert list(one.test_sets) == list(two.test_sets)
    for name, test_set in one.test_sets.items():
        np.testing.assert_array_equal(test_set.rows, two.test_sets[name].rows)
        for key, array in test_set.arrays.items():
            np.testing.assert_array_equal(array, two.test_sets[name].arrays[key])


def test_a_complete_evaluation_is_not_run_again(evaluated):
    evaluator = make_evaluator(evaluated)
    evaluator.add_event_handler(Events.STARTED, lambda: pytest.fail("evaluated again"))
    evaluator.run()


def replace_best(path):
    state = torch.load(path, weights_only=True)
    torch.save({**state, "network": tiny_network(seed=77).state_dict()}, path)


def test_an_evaluation_is_of_one_checkpoint(evaluated, tmp_path):
    best = tmp_path / "best.pt"
    best.write_bytes((evaluated / "best.pt").read_bytes())
    interrupted(tmp_path)
    replace_best(best)
    with pytest.raises(
        ResultsError, match=r"results was made with .*checkpoint: \w+ there, .* give what it was made with"
    ):
        make_evaluator(tmp_path).run()
    best.write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path).run()
    for name, test_set in load_results(evaluated / "results").test_sets.items():
        logits = load_results(tmp_path / "results").test_sets[name].arrays["logits"]
        np.testing.assert_array_equal(logits, test_set.arrays["logits"])
    replace_best(best)
    with pytest.raises(ResultsError, match=r"results of another checkpoint than .*best\.pt, which was repl"):
        make_evaluator(tmp_path).run()
    (tmp_path / "results" / "run.json").unlink()
    with pytest.raises(ResultsError, match="made with something else .checkpoint: "):
        make_evaluator(tmp_path).run()
    (tmp_path / "results" / "evaluation.json").unlink()
    with pytest.raises(ResultsError, match=r"no evaluation\.json that says what"):
        make_evaluator(tmp_path).run()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inferer": MCDropoutInferer(2, precision="bfloat16")}, "precision: float32 there, bfloat16 now"),
        ({"inferer": MCDropoutInferer(3)}, "dropout_samples: 2 there, 3 now"),
        ({"inferer": MCDropoutInferer(2, seed=1)}, "dropout_seed: 0 there, 1 now"),
        (
            {"inferer": MCDropoutInferer(2, views=["horizontal_flip"])},
            r'views: \[\] there, \["horizontal_flip"\] now',
        ),
        ({"network": tiny_network(seed=5, dropout=0.3)}, r"dropout: \[0\.2\] there, \[0\.3\] now"),
        ({"corrupted_features": "float16"}, "corrupted_features: float32 there, float16 now"),
        ({"sweep": CorruptionSweep(KINDS, (1, 3), seed=1)}, "corruption_seed: 0 there, 1 now"),
        ({"sweep": CorruptionSweep(KINDS, (1, 3), modality="ct")}, "modality: null there, ct now"),
        ({"sweep": CorruptionSweep(KINDS, (1, 2))}, r"severities: \[1, 3\] there, \[1, 2\] now"),
        ({"sweep": CorruptionSweep(KINDS[:1], (1, 3))}, "corruptions: .* there, .* now"),
        ({"sweep": None}, "severities: .* there, absent now"),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_an_evaluation_goes_on_as_it_was_started(evaluated, tmp_path, changes, said):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    interrupted(tmp_path)
    for folder in (tmp_path, evaluated):
        with pytest.raises(ResultsError, match=f"results was made with something else .*{said}.*remove"):
            make_evaluator(folder, **changes).run()


def test_what_changes_no_output_may_change(evaluated):
    make_evaluator(evaluated, batch_size=3, inferer=MCDropoutInferer(2, max_batch=4), target_risk=0.2).run()


def test_a_checkpoint_that_is_replaced_while_it_is_evaluated_is_noticed(evaluated, tmp_path):
    best = tmp_path / "best.pt"
    best.write_bytes((evaluated / "best.pt").read_bytes())
    evaluator = make_evaluator(tmp_path)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: replace_best(best))
    evaluator.run()
    ran = load_results(tmp_path / "results")
    assert ran.run["sha256"]["checkpoint"] == load_results(evaluated / "results").run["sha256"]["checkpoint"]
    with pytest.raises(ResultsError, match="results of another checkpoint"):
        make_evaluator(tmp_path).run()


def test_a_flipped_bit_of_the_checkpoint_is_not_evaluated(unbroken, tmp_path):
    for name in ("best.pt", "training.json"):
        (tmp_path / name).write_bytes((unbroken / name).read_bytes())
    flip_a_bit(tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"best\.pt is not the file .*training\.json has"):
        make_evaluator(tmp_path).run()
    assert not (tmp_path / "results").exists()


def test_evaluation_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*best\.pt: train first"):
        make_evaluator(tmp_path).run()


def test_an_error_in_writing_ends_the_evaluation_and_loses_nothing(evaluated, tmp_path, monkeypatch):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    wrote, write, seen = [], TestSetWriter.write, []

    def full(self, rows, arrays):
        if len(wrote) == 3:
            raise OSError(errno.ENOSPC, "no space left", str(self.path))
        write(self, rows, arrays)
        wrote.append((self.name, list(rows)))

    with monkeypatch.context() as patched:
        patched.setattr(TestSetWriter, "write", full)
        evaluator = make_evaluator(tmp_path)
        evaluator.add_event_handler(Events.GET_BATCH_STARTED, lambda engine: seen.append(1))
        with pytest.raises(OSError, match="no space left"):
            evaluator.run()
    assert len(seen) == 5  # the fourth batch fails while the network works on the fifth
    for name, rows in wrote:
        partial = tmp_path / "results" / f".{name}.partial"
        flags = dict(zip(np.load(partial / "rows.npy").tolist(), np.load(partial / "done.npy"), strict=True))
        assert all(flags[row] for row in rows)
    make_evaluator(tmp_path).run()
    for name, test_set in load_results(evaluated / "results").test_sets.items():
        for key, array in test_set.arrays.items():
            np.testing.assert_array_equal(
                load_results(tmp_path / "results").test_sets[name].arrays[key], array
            )


def test_results_of_other_cases_are_not_overwritten(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path).run()
    (tmp_path / "results" / "run.json").unlink()
    other = make_evaluator(tmp_path)
    other.cases = other.cases.assign(brightness=0.0)
    with pytest.raises(ResultsError, match="results of other cases"):
        other.run()
