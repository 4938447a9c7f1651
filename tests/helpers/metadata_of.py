"""What a bundle's metadata.json says that its inference config, or the package, says otherwise."""

import json

import numpy as np
from monai.bundle import ConfigWorkflow

from monai_sf.scores import METHODS, csfs_for, derivable, dropout_arrays, fits_for, view_arrays

ONE = np.zeros((1, 1, 2))  # one sample or view, of one case


def disagreements(folder):
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    workflow = ConfigWorkflow(str(folder / "configs" / "inference.json"), logging_file=False)
    workflow.initialize()
    config = workflow.parser
    classes = config.get_parsed_content("class_names")
    size = config.get("image_size") or config.get("image_shape")
    image = metadata["network_data_format"]["inputs"]["image"]
    pred = metadata["network_data_format"]["outputs"]["pred"]
    told = {
        "channels": (image["num_channels"], len(image["channel_def"])),
        "size": image["spatial_shape"],
        "range": image["value_range"],
        "outputs": (*metadata["network_data_format"]["outputs"],),  # all of which postprocessing must give
        "logits": (pred["type"], pred["format"], pred["value_range"]),  # of the network
        "classes": (pred["num_channels"], pred["channel_def"]),
        "probabilities": metadata["pred_classes"].startswith("after postprocessing, probabilities of "),
        "scores": tuple(metadata["confidence_scores"]),
        "changes": metadata["version"] in metadata["changelog"],
        "tools": set(metadata["supported_apps"]),
    }
    channels = config.get("network_def")["backbone"]["in_channels"]
    expected = {
        "channels": (channels, channels),
        "size": size,
        "range": [0, 1],
        "outputs": ("pred",),
        "logits": ("raw", "logits", []),
        "classes": (len(classes), {str(i): name for i, name in enumerate(classes)}),
        "probabilities": True,
        "scores": csfs_for(config.get("method"), arrays_of(config.get("method"))),
        "changes": True,
        "tools": {"monailabel", "monai-deploy-app-sdk"},
    }
    return {key: (told[key], expected[key]) for key in told if told[key] != expected[key]}


def arrays_of(method):
    """Names of all arrays of one network of a method that scores read, stored or derived."""
    stored = {"logits", "features", *METHODS[method].heads, *dropout_arrays(ONE), *view_arrays(ONE)}
    return stored | derivable(stored, [f"{name}.x" for name in fits_for(method)])
