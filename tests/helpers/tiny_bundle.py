"""What shrinks the lung nodule bundle to seconds, as an overlay for the tests that run it."""

import numpy as np

from monai_sf.results import Results


def tiny_lung(scans: int, **more: object) -> str:
    """A config file: some nodules, a network of a few filters, one epoch a stage; further keys.

    Of every so many-th scan those that the readers agree on: a few epochs can tell them apart.
    """
    epochs = dict.fromkeys(("epochs", "confidnet_epochs", "finetuning_epochs"), 1)
    keys = {"rendered": "true", **epochs, "mc_samples": 2, **more}
    lines = "".join(f"{key}: {value}\n" for key, value in keys.items())
    return f"""
some: "$@all_cases['slice_offset'].isin(@slice_offsets) & (@all_cases['scan_id'] % {scans} == 0)"
chosen: "$@some & ~@all_cases['malignancy'].between(1.6, 3.9)"
cases: $@all_cases[@chosen].reset_index(drop=True)
{TINY_NETWORK.format(channels=1)}
corruptions: [brightness_up]
{lines}"""


TINY_NETWORK = """network_def#backbone:
  _target_: DenseNet
  spatial_dims: 2
  in_channels: {channels}
  out_channels: '@num_classes'
  init_features: 8
  growth_rate: 8
  block_config: [2, 2]
  dropout_prob: 0.1"""


def accuracy_and_majority(results: Results, test_set: str) -> tuple[float, float]:
    """The share of right answers, and that of a network that learned nothing."""
    label = results.cases_of(test_set)["label"].to_numpy()
    answer = np.array(results.test_sets[test_set].arrays["logits"]).argmax(1)
    return float((answer == label).mean()), float(np.bincount(label).max() / len(label))
