"""What the tests of several processes run in each of them."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Events
from monai_sf.transforms import CorruptionSweep

from helpers.toy_engines import HEADS, StopError, make_evaluator, make_trainer, stages_of
from helpers.toy_fits import fitting_evaluator, toy_scores
from helpers.toy_problem import tiny_network, toy_cases, toy_dataset
from monai_sf.losses import DeVriesLoss
from monai_sf.networks import ClassifierOutput, distributed

#: Iteration in which a training is stopped: inside of an epoch, in each of the stages.
STOPS = {"confidnet": (4, 11), "deepgamblers": (8,), "devries": (5,)}
#: Cases of val, calibration, iid and target: uneven shares; fewer cases than processes; nothing but iid.
COUNTS = {"uneven": (4, 5, 7, 5), "few": (1, 1, 1, 1), "bare": (0, 0, 3, 0)}


def wide(dataset):
    """In float64: Adam divides gradients by their own size, and so lets noise of float32 grow."""
    for record in dataset.data:
        record["image"] = record["image"].astype(np.float64)
    return dataset


def trainer(method, folder, seed=0, **changes):
    cases = toy_cases()
    arguments = {
        "network": tiny_network(seed, dropout=0.0, confidence=HEADS[method]),
        "stages": stages_of(method),
        "dataset": wide(toy_dataset(cases[:28], "train")),
        # the last batch has one case, of which one process gets none
        "validation_dataset": wide(toy_dataset(cases[28:38], "val")),
        **changes,
    }
    return make_trainer(folder, **arguments)


def evaluator(folder, counts, **changes):
    names = ("val", "calibration", "iid", "target")
    splits = [name for name, n in zip(names, counts, strict=True) for _ in range(n)]
    cases = toy_cases()[: len(splits)].assign(split=splits)
    dataset = wide(toy_dataset(cases, "iid"))
    for record, split in zip(dataset.data, splits, strict=True):
        record["split"] = split
    own = {"dataset": dataset, "cases": cases, "sweep": CorruptionSweep(("gaussian_noise",), (1, 3))}
    return make_evaluator(folder, **own, **changes)


def fitting(folder):
    """An evaluator that fits scores to training cases."""
    evaluator = fitting_evaluator(folder, network=tiny_network(5))
    wide(evaluator.dataset)
    return evaluator


def put_checkpoint(folder):
    """A network to evaluate, which nobody has trained."""
    if distributed.is_main():
        Path(folder).mkdir(parents=True, exist_ok=True)
        torch.save({"network": tiny_network(7).state_dict()}, Path(folder) / "best.pt")
    distributed.barrier()


def stopped(engine, iteration):
    """Run an engine that stops with an error in this process's given iteration."""

    def stop(engine):
        if engine.state.iteration == iteration:
            raise StopError

    engine.add_event_handler(Events.ITERATION_COMPLETED, stop)
    try:
        engine.run()
    except StopError:
        return
    raise AssertionError("was not stopped")


def everything(folder):
    """All that does not end a process; what it leaves is looked at by the tests."""
    for method in HEADS:
        trainer(method, folder / "two" / method, seed=distributed.rank()).run()
        for stop in STOPS[method]:
            stopped(trainer(method, folder / f"stopped-{stop}" / method), stop)
            trainer(method, folder / f"to-resume-{stop}" / method, seed=99).run()
    for name, counts in COUNTS.items():
        put_checkpoint(folder / "two" / name)
        evaluator(folder / "two" / name, counts).run()
    put_checkpoint(folder / "stopped" / "uneven")
    stopped(evaluator(folder / "stopped" / "uneven", COUNTS["uneven"]), 3)
    evaluator(folder / "to-resume" / "uneven", COUNTS["uneven"]).run()
    with toy_scores():
        for name in ("two", "stopped"):
            put_checkpoint(folder / name / "fitted")
        fitting(folder / "two" / "fitted").run()
        stopped(fitting(folder / "stopped" / "fitted"), 3)
        fitting(folder / "to-resume" / "fitted").run()
    # rank 0 alone would find its three cases cheap, rank 1 its two dear; all five together are dear
    count, sure = (3, 5.0) if distributed.is_main() else (2, -3.0)
    price, logits = DeVriesLoss(0.1, 0.3), torch.zeros(count, 2)
    price(ClassifierOutput(logits, logits, torch.full((count,), sure)), torch.zeros(count, dtype=torch.long))
    hints = [distributed.random_half(count, torch.device("cpu")).tolist() for _ in range(50)]
    about = {"lambda": float(price.lambda_), "hints": hints}
    (folder / f"devries-{distributed.rank()}.json").write_text(json.dumps(about))
    nan = wide(toy_dataset(toy_cases()[:28], "train"))
    nan.data[5]["image"][:] = np.nan
    try:
        trainer("devries", folder / "nan", dataset=nan).run()
    except FloatingPointError as error:
        (folder / f"nan-{distributed.rank()}.txt").write_text(str(error))
    spoilt = trainer("devries", folder / "spoilt")
    if distributed.rank() == 1:  # a fault of its memory, say
        buffer = next(spoilt.network.buffers())
        spoilt.progress.validator.add_event_handler(Events.COMPLETED, lambda: buffer.fill_(np.nan))
    try:
        spoilt.run()
    except FloatingPointError as error:
        (folder / f"spoilt-{distributed.rank()}.txt").write_text(str(error))


def error_on_rank_1(folder):
    broken = wide(toy_dataset(toy_cases()[:28], "train"))
    if distributed.rank() == 1:
        broken.data = [*broken.data[:-3], *[{"label": 0}] * 3]  # three without an image
    trainer("devries", folder, dataset=broken).run()


def kill_on_rank_1(folder):
    victim = trainer("devries", folder)

    def kill(engine):
        if engine.state.iteration == 8 and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    victim.add_event_handler(Events.ITERATION_COMPLETED, kill)
    victim.run()


def main(job, folder):
    """Do a job in one of the processes."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    distributed.start(timeout_minutes=10)  # longer than the tests wait: nothing may hang
    {"everything": everything, "error": error_on_rank_1, "kill": kill_on_rank_1}[job](folder)
    distributed.stop()
