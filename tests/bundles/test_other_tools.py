"""Every bundle as MONAI's other tools drive it: MONAI Label, MONAI Deploy, and the model zoo's checks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from monai.data import save_net_with_metadata
from PIL import Image

from helpers.bundle_readers import DeployReader, LabelReader
from monai_sf.networks.with_features import WithFeatures

BUNDLES = Path(__file__).parents[2] / "bundles"
SCHEMA = BUNDLES.parent / "docs" / "metadata.schema.json"
NAMES = ("dermoscopy", "chest_xray", "fc_microscopy", "lung_nodule_ct", "pneumonia")
#: Sizes of the images of a bundle: not square, so that a transposition is another image.
SHAPES = {"lung_nodule_ct": (64, 64)}


def scenes(name):
    """Four images, (H, W, 3), (H, W) or (6, H, W), that a network of any weights tells apart."""
    generator = np.random.default_rng(0)
    height, width = SHAPES.get(name, (90, 70))
    rows, columns = np.mgrid[:height, :width]
    for i in range(4):
        waves = 127 + 120 * np.sin(rows / (3 + 4 * i)) * np.cos(columns / (5 + i) + i)
        if name == "lung_nodule_ct":
            yield (waves * 10 - 1500 + generator.normal(0, 30, waves.shape)).astype(np.int16)
            continue
        grey = (waves + generator.normal(0, 5, waves.shape)).clip(0, 255).astype(np.uint8)
        tones = (0.5, 1, 0.8) if name == "dermoscopy" else (1, 0.8, 0.6, 0.4, 0.9, 0.5)
        stack = [(grey * tone).astype(np.uint8) for tone in tones]
        many = name in ("dermoscopy", "fc_microscopy")
        yield (np.stack(stack, -1) if name == "dermoscopy" else np.stack(stack)) if many else grey


def written(name, image, path):
    """Write an image as files of the bundle's kind and return what a record holds of them."""
    if name == "lung_nodule_ct":
        np.save(path.with_suffix(".npy"), image)
        return str(path.with_suffix(".npy"))
    if name == "fc_microscopy":
        files = [str(path) + f"_w{k + 1}.png" for k in range(len(image))]
        for file, channel in zip(files, image, strict=True):
            Image.fromarray(channel).save(file)
        return files
    Image.fromarray(image).save(path.with_suffix(".png"))
    return str(path.with_suffix(".png"))


def as_in_deploy(name, image):
    """Return array and metadata of the App SDK's image: of its picture loader, or of its DICOM operators."""
    if name == "lung_nodule_ct":
        spacing = dict.fromkeys(("row_pixel_spacing", "col_pixel_spacing", "depth_pixel_spacing"), 1.0)
        return image[None], {**spacing, "modality": "CT", "nifti_affine_transform": np.eye(4)}
    if name == "fc_microscopy":  # no loader of the SDK reads six files: the application stacks them
        return image, {"filename": "a"}
    rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
    array = np.transpose(rgb.astype(np.float32), (2, 0, 1))
    return array, {"filename": "a.png", "original_shape": array.shape, "source_format": ".png"}


class Small:
    """A bundle with a small network of random weights in models/model.pt, and images to classify."""

    def __init__(self, name, folder):
        self.name, self.root = name, folder / name
        shutil.copytree(BUNDLES / name, self.root)
        self.config = self.root / "configs" / "inference.json"
        content = json.loads(self.config.read_text())
        content["network_def"]["backbone"]["name"] = "densenet-small"
        if content.get("image_size"):
            content["image_size"] = [48, 40]
        if "batch_size" in content:
            content["batch_size"] = 3  # one image is alone
        self.config.write_text(json.dumps(content))
        self.images = list(scenes(name))
        (folder / "images").mkdir()
        self.files = [written(name, image, folder / "images" / str(i)) for i, image in enumerate(self.images)]
        self.options = {"dataset_dir": str(folder / "images"), "output": str(folder / "p.csv"), "csf": None}
        (self.root / "models").mkdir()
        torch.save(self.weights(content), self.root / "models" / "model.pt")

    def weights(self, content):
        """Random ones under which the images have different classes, as those of a trained network do."""
        torch.manual_seed(3)
        parser = ConfigParser(content)
        network = parser.get_parsed_content("network_def").eval()
        steps = parser.get_parsed_content("preprocessing")
        images = torch.stack([steps({"image": file})["image"].as_tensor() for file in self.files])
        with torch.no_grad():
            logits = network(images)
            last = network.head[-1]
            last.bias -= logits.mean(0)
            for parameter in (last.weight, last.bias):
                parameter /= logits.std(0).mean() / 2
        return network.state_dict()

    def own(self):
        """The predictions of the bundle's own inference, in the order of the images."""
        workflow = ConfigWorkflow(str(self.config), workflow_type="infer", logging_file=False, **self.options)
        workflow.initialize()
        workflow.run()
        table = pd.read_csv(self.options["output"])
        return table.sort_values("case_id")


@pytest.fixture(scope="module", params=NAMES)
def small(request, tmp_path_factory):
    return Small(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def exported(small):
    """What the model zoo's verify_torchscript makes, and MONAI Deploy reads: the network with its configs."""
    path = small.root / "models" / "verify_model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(path),
        ckpt_file=str(small.root / "models" / "model.pt"),
        meta_file=str(small.root / "configs" / "metadata.json"),
        config_file=str(small.config),
        bundle_root=str(small.root),
    )
    return path


@pytest.mark.e2e
def test_monai_label_and_monai_deploy_get_the_probabilities_of_the_own_inference(small, exported):
    own = small.own()
    label, deploy = LabelReader(small.root), DeployReader(exported)
    assert own["MSR"].nunique() == 4
    assert len(set(own["prediction"])) > 1
    for image, file, (_, row) in zip(small.images, small.files, own.iterrows(), strict=True):
        probabilities, name = label(file)
        assert probabilities.shape == (len(label.labels),)
        np.testing.assert_allclose(probabilities.sum(), 1, atol=1e-5)
        np.testing.assert_allclose(probabilities.max(), row["MSR"], atol=1e-5)
        assert probabilities.argmax() == row["prediction"]
        assert name == row["class"].lower()
        np.testing.assert_allclose(deploy(*as_in_deploy(small.name, image)), probabilities, atol=1e-5)


@pytest.mark.e2e
def test_a_network_that_gives_its_features_too_has_the_same_probabilities(small, tmp_path):
    if small.name != "chest_xray":  # inferer and postprocessing stand in the shared configs
        return
    shutil.copytree(small.root, tmp_path / "exported", ignore=shutil.ignore_patterns("models"))
    parser = ConfigParser(json.loads(small.config.read_text()))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(small.root / "models" / "model.pt", weights_only=True))
    path = tmp_path / "exported" / "models" / "model.ts"
    path.parent.mkdir()
    save_net_with_metadata(
        torch.jit.script(WithFeatures(network)),
        str(path),
        meta_values=json.loads((small.root / "configs" / "metadata.json").read_text()),
        more_extra_files={"inference.json": small.config.read_bytes()},
    )
    label, deploy, own = LabelReader(path.parents[1]), DeployReader(path), LabelReader(small.root)
    for image, file in zip(small.images, small.files, strict=True):
        probabilities, _ = own(file)
        np.testing.assert_allclose(label(file)[0], probabilities, atol=1e-6)
        np.testing.assert_allclose(deploy(*as_in_deploy(small.name, image)), probabilities, atol=1e-6)


@pytest.mark.e2e
def test_monai_finds_its_properties_without_our_first_step(small):
    workflow = ConfigWorkflow(
        str(small.config), workflow_type="infer", logging_file=False, init_id="none", **small.options
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert Path(workflow.bundle_root) == small.root
    loader = workflow.parser.get_parsed_content("dataloader")
    channels = (
        len(small.images[0]) if small.name == "fc_microscopy" else 3 if small.name == "dermoscopy" else 1
    )
    assert next(iter(loader))["image"].shape[:2] == (3, channels)
    network, (handler,) = workflow.parser.get_parsed_content("network"), workflow.handlers
    expected = torch.load(small.root / "models" / "model.pt", weights_only=True)
    assert not torch.equal(network.head[-1].weight, expected["head.0.weight"])
    handler(workflow.evaluator)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.e2e
def test_the_checks_of_the_model_zoo_pass(small, exported):
    """Its verify_bundle.py, in order: directory, version, metadata, shapes of the network, TorchScript."""
    meta = small.root / "configs" / "metadata.json"
    metadata = json.loads(meta.read_text())
    assert metadata["version"] in metadata["changelog"]
    verify_metadata(meta_file=str(meta), filepath=str(SCHEMA))
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(meta),
        config_file=str(small.config),
        bundle_root=str(small.root),
        device="cpu",
    )
    torch.jit.load(exported)
