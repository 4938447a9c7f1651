"""What shrinks the lung nodule bundle to seconds, as an overlay for the tests that run it."""


def tiny_lung(scans: int, **more: object) -> str:
    """A config file: every so many-th scan, a network of a few filters, one epoch a stage; further keys."""
    keys = {"epochs": 1, "confidnet_epochs": 1, "finetuning_epochs": 1, "mc_samples": 2, **more}
    lines = "".join(f"{key}: {value}\n" for key, value in keys.items())
    return f"""
chosen: "$@all_cases['slice_offset'].isin(@slice_offsets) & (@all_cases['scan_id'] % {scans} == 0)"
cases: $@all_cases[@chosen].reset_index(drop=True)
{TINY_NETWORK.format(channels=1)}
corruptions: [brightness_up]
{lines}"""


TINY_NETWORK = """network_def#backbone:
  _target_: DenseNet
  spatial_dims: 2
  in_channels: {channels}
  out_channels: '@num_classes'
  init_features: 4
  growth_rate: 4
  block_config: [1, 1]
  dropout_prob: 0.1"""
