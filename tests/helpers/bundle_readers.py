"""What MONAI Label and MONAI Deploy do with a bundle, step by step, without these packages.

Neither runs a bundle's step ``initialize``; each takes components out of the config with a plain parser.
"""

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigItem, ConfigParser
from monai.data import MetaTensor, decollate_batch
from monai.transforms import Compose, LoadImaged, MapTransform
from monai.utils import convert_to_dst_type, ensure_tuple


class LabelReader:
    """``monailabel.tasks.infer.bundle.BundleInferTask``, called as ``basic_infer.BasicInferTask`` calls it.

    https://github.com/Project-MONAI/MONAILabel/blob/main/monailabel/tasks/infer/bundle.py, for a task of the
    type "classification" without restoration to the input's size, as an app asks for one.
    """

    def __init__(self, bundle: Path, device: str = "cpu") -> None:
        self.device = device
        self.config = ConfigParser()
        self.config.read_config(str(bundle / "configs" / "inference.json"))
        self.config.config.update({"bundle_root": str(bundle)})
        weights, scripted = (bundle / "models" / name for name in ("model.pt", "model.ts"))
        if weights.exists():
            self.network = self.config.get_parsed_content("network_def", instantiate=True)
            checkpoint = torch.load(weights, map_location=torch.device(device))
            self.network.load_state_dict(checkpoint.get("model", checkpoint), strict=True)
        else:
            self.network = torch.jit.load(scripted, map_location=torch.device(device))
        self.network.eval()
        described = json.loads((bundle / "configs" / "metadata.json").read_text())["network_data_format"]
        self.image = next(iter(described["inputs"]))
        self.pred, output = next(iter(described["outputs"].items()))
        self.labels = {int(k): name.lower() for k, name in output["channel_def"].items()}

    def __call__(self, image: str | list[str]) -> tuple[np.ndarray, str]:
        """Return what postprocessing leaves under the key of the prediction, and the name of its largest."""
        self._set_device()
        data = {"image": image, "image_path": image, "device": self.device, "model": "ours"}
        for transform in self._transforms("preprocessing"):
            # MONAI Label puts a loader of its own around LoadImaged, which passes paths on to it
            assert isinstance(transform, LoadImaged) or not isinstance(data["image"], str)
            data = transform(data)
        self._set_device()
        inferer = self.config.get_parsed_content("inferer", instantiate=True)
        inputs = data[self.image]
        inputs = inputs if torch.is_tensor(inputs) else torch.from_numpy(inputs)
        with torch.no_grad():
            outputs = inferer(inputs[None].to(torch.device(self.device)), self.network)
        data[self.pred] = decollate_batch(outputs)[0] if isinstance(outputs, dict) else outputs[0]
        for transform in self._transforms("postprocessing"):
            data = transform(data)
        found = np.asarray(data[self.pred])
        return found, self.labels[int(found.argmax())]

    def _transforms(self, key: str) -> list[object]:
        found = self.config.get_parsed_content(key, instantiate=True)
        return list(found.transforms) if isinstance(found, Compose) else found

    def _set_device(self) -> None:
        self.config.config.update({"device": self.device})
        if self.config.ref_resolver.items.get("device"):
            self.config.ref_resolver.items["device"] = ConfigItem(config=self.device, id="device")


class DeployReader:
    """``monai.deploy.operators.MonaiBundleInferenceOperator`` on a TorchScript file with a bundle's configs.

    https://github.com/Project-MONAI/monai-deploy-app-sdk, monai_bundle_inference_operator.py in that folder.
    """

    def __init__(self, exported: Path) -> None:
        self.parser = ConfigParser()
        with zipfile.ZipFile(exported) as archive, tempfile.TemporaryDirectory() as folder:
            root = f"{exported.stem}/extra"
            self.parser.read_meta(f=json.loads(archive.read(f"{root}/metadata.json")))
            self.parser.read_config([archive.extract(f"{root}/inference.json", folder)])
        self.parser.parse()
        self.device = self.parser.get_parsed_content("device")
        self.inferer = self.parser.get_parsed_content("inferer")
        self.steps = {key: self._compose(key) for key in ("preprocessing", "postprocessing")}
        described = self.parser["_meta_"]["network_data_format"]
        (self.image,), (self.pred,) = described["inputs"], described["outputs"]
        self.network = torch.jit.load(exported, map_location=self.device).eval()

    def _compose(self, key: str) -> Compose:
        compose = self.parser.get_parsed_content(key)
        names = ("LoadImage", "SaveImage")
        compose.transforms = tuple(
            one for one in compose.transforms if not any(name in type(one).__name__ for name in names)
        )
        assert isinstance(compose.transforms[0], MapTransform)
        return compose

    def __call__(self, array: np.ndarray, metadata: dict) -> np.ndarray:
        """Return the operator's output for array and metadata of an ``Image`` of the App SDK."""
        value, meta = self._converted(array, metadata)
        value = convert_to_dst_type(value, dst=value)[0]
        inputs = {self.image: MetaTensor.ensure_torch_and_prune_meta(value, meta)}
        inputs = self.steps["preprocessing"](inputs)
        with torch.no_grad():
            outputs = self.inferer(inputs=inputs[self.image][None].to(self.device), network=self.network)
        found = self.steps["postprocessing"]({self.pred: ensure_tuple(outputs)[0], **inputs})
        return found[self.pred].cpu().numpy()

    @staticmethod
    def _converted(array: np.ndarray, metadata: dict) -> tuple[np.ndarray, dict]:
        if "row_pixel_spacing" not in metadata:
            return array, metadata
        affine = np.asarray(metadata["nifti_affine_transform"])
        turned = np.swapaxes(array, 0, 2)  # of a DICOM series: slices, rows, columns
        spacing = [metadata[f"{axis}_pixel_spacing"] for axis in ("row", "col", "depth")]
        return turned, {
            **metadata,
            "spacing": np.asarray(spacing),
            "original_affine": affine,
            "affine": affine.copy(),
            "space": "LPS",
            "spatial_shape": np.asarray(turned.shape),
            "original_channel_dim": "no_channel",
        }
