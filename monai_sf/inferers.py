"""Monte Carlo dropout and augmented views as a MONAI inferer, reduced to a few numbers per class and case."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from monai_sf.networks import Classifier, ClassifierOutput, dropout_layers
from monai_sf.networks.precision import computing_in
from monai_sf.scores import dropout_arrays, expected_entropy, mean_log_softmax, view_arrays

# Odd 64-bit constants of the SplitMix64 generator (Steele, Lea & Flood, OOPSLA 2014), as signed integers.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


#: Views of images (N, channels, H, W) by name, exact copies of their pixels; rotations are counter-clockwise.
VIEWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "horizontal_flip": lambda images: images.flip(-1),
    "vertical_flip": lambda images: images.flip(-2),
    "rotate_90": lambda images: images.rot90(1, (-2, -1)),
    "rotate_180": lambda images: images.rot90(2, (-2, -1)),
    "rotate_270": lambda images: images.rot90(3, (-2, -1)),
}
#: Those that exchange height and width.
_TURNED = ("rotate_90", "rotate_270")


def dropout_stream(case_id: str, seed: int = 0) -> int:
    """Return the 63-bit number of a case's own dropout stream, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{case_id}".encode(), digest_size=8).digest(), "big") >> 1


def _mix(x: Tensor) -> Tensor:
    """Apply the finalizer of SplitMix64 to int64 tensors; integers wrap alike on every device."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _MIX_1
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _MIX_2
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def _keep_mask(streams: Tensor, layer: int, shape: Sequence[int], p: float) -> Tensor:
    """Return (M, ...) booleans, true with probability 1 - p, as a function of stream, layer and position."""
    count = 1
    for size in shape:
        count *= size
    offset = ((layer + 1) * _GAMMA + (1 << 63)) % (1 << 64) - (1 << 63)  # wrapped as int64 is
    start = _mix(streams + offset)
    index = torch.arange(1, count + 1, device=streams.device)
    bits = (_mix(start[:, None] + index * _GAMMA) >> 40) & ((1 << 24) - 1)
    return (bits >= round(p * (1 << 24))).reshape(len(streams), *shape)


@contextmanager
def _sampling(layers: Sequence[nn.Module], streams: Sequence[Tensor]) -> Iterator[None]:
    """Activate the dropout layers in evaluation mode, seeded by the streams; ``streams[0]`` is (M,) int64.

    Raises:
        ValueError: a layer gets no row per image, or none of the layers was used: of a given network, where
            they stand is not known.
    """
    used = set()

    def hook(layer: int, p: float, channels: bool, x: Tensor) -> Tensor:
        used.add(layer)
        if len(x) != len(streams[0]):
            raise ValueError(
                f"a dropout layer gets {len(x)} rows for {len(streams[0])} images, so that a sample is not a "
                "function of its image: set samples to 0"
            )
        shape = (x.shape[1], *(1,) * (x.ndim - 2)) if channels else x.shape[1:]
        return x * _keep_mask(streams[0], layer, shape, p) / (1 - p)

    handles = [
        module.register_forward_hook(
            lambda m, args, out, i=i: hook(i, m.p, not isinstance(m, nn.Dropout), args[0])
        )
        for i, module in enumerate(layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if not used:
        raise ValueError("no dropout layer of the network is used in a pass: set samples to 0")


class OutputInferer(Inferer):
    """One pass that returns all outputs of the network, as training needs them."""

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: Classifier
    ) -> ClassifierOutput:
        """Compute logits, features and learned confidence of float images (N, channels, H, W) in [0, 1]."""
        return network.outputs(inputs)


class LogitsInferer(Inferer):
    """One pass that returns the logits alone, as MONAI's other tools expect of an inferer.

    An exported network gives its features too; of a tuple, MONAI Deploy would take the first entry for the
    output of a single image, though it is that of a batch.
    """

    def __call__(self, inputs: Tensor, network: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> Tensor:
        """Return the logits (N, C) of float images (N, channels, H, W) in [0, 1].

        Args:
            inputs: the images.
            network: gives the logits, or a tuple that begins with them.
        """
        # TorchScript that is called with a MetaTensor gives no tuple of tensors
        output = network(inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs)
        return output if isinstance(output, Tensor) else output[0]


class MCDropoutInferer(Inferer):
    """One pass without dropout, T with it and one per view, reduced to a few numbers per class and case.

    Gal & Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016. Only dropout layers sample; batch norm
    and drop-connect stay in evaluation mode. The part before the first dropout layer is computed once. Every
    case has its own random stream, so its outputs do not depend on the rest of the batch. Of the samples only
    the logits are held, (T, N, C) of one batch.

    Test-time augmentation: Ayhan & Berens, "Test-time Data Augmentation for Estimation of Heteroscedastic
    Aleatoric Uncertainty in Deep Neural Networks", MIDL 2018. Views are fixed, not random, and computed
    without dropout; the image itself is one of those that are averaged.

    Args:
        samples: number T of dropout samples (the paper: 50); 0 gives no MC-dropout outputs.
        views: names of :data:`VIEWS`, besides the image itself; each costs a whole pass. Without any there
            are no outputs of test-time augmentation.
        max_batch: maximum number of images per pass; T samples of a batch are tiled up to this many.
        seed: the same seed gives the same samples.

    Raises:
        ValueError: ``samples`` is negative, ``max_batch`` not positive, or a view unknown or given twice.
    """

    def __init__(
        self, samples: int = 50, *, views: Sequence[str] = (), max_batch: int = 256, seed: int = 0
    ) -> None:
        super().__init__()
        if samples < 0:
            raise ValueError(f"samples must be at least 0, got {samples}")
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {max_batch}")
        if isinstance(views, str) or not set(views) <= VIEWS.keys() or len(set(views)) < len(views):
            raise ValueError(f"views must be a list of different ones of {', '.join(VIEWS)}, got {views!r}")
        self.samples, self.views, self.max_batch, self.seed = samples, tuple(views), max_batch, seed

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: Classifier,
        case_ids: Sequence[str] | None = None,
        *,
        plain: bool = False,
    ) -> dict[str, Tensor]:
        """Return the outputs of a batch.

        Args:
            inputs: (N, channels, H, W) float images in [0, 1]; square ones for rotations by 90 and 270
                degrees, which exchange height and width.
            network: in evaluation mode; with dropout, if samples are requested.
            case_ids: N names that seed the cases' streams; by default the images' own bytes do.
            plain: logits and features only, of the pass without dropout, as for cases that scores are fitted
                to. Nothing else is computed.

        Returns:
            ``logits`` (N, C), ``features`` (N, F) where the network tells them, what its head gives
            (``confidence_logit`` (N,), ``reservation_logit`` (N,), or what it names), all float32; with T > 0
            those of :func:`monai_sf.scores.dropout_arrays`, and with views of
            :func:`monai_sf.scores.view_arrays`. The softmax is over the C classes, without a reservation
            class.

        Raises:
            ValueError: the network is in training mode, or has no dropout, so that all samples would be
                equal; or the images are not square, and a view needs it.
        """
        if network.training:
            raise ValueError("network is in training mode: call network.eval() first")
        with computing_in("float32", inputs.device):
            return self._outputs(inputs, network, case_ids, plain)

    def _outputs(
        self, inputs: Tensor, network: Classifier, case_ids: Sequence[str] | None, plain: bool
    ) -> dict[str, Tensor]:
        if plain:
            found = network.plain(network.stem(inputs))
            return {name: array.float() for name, array in found.arrays().items()}
        stem = network.stem(inputs)
        clean = network.outputs(inputs, stem)
        outputs = {name: array.float() for name, array in clean.arrays().items()}
        if self.samples:
            names = case_ids if case_ids is not None else [_content_name(image) for image in inputs]
            outputs |= dropout_arrays(self._sampled(stem, network, names))
        if self.views:
            outputs |= view_arrays(torch.stack([clean.logits, *self._viewed(inputs, network)]))
        return outputs

    def _sampled(self, stem: Tensor, network: Classifier, names: Sequence[str]) -> Tensor:
        """Return the logits (T, N, C) of dropout samples."""
        layers = dropout_layers(network)
        if not layers:
            raise ValueError(
                "the network has no dropout layer (p > 0): MC dropout would equal the plain score. Give the "
                "network dropout or set samples to 0"
            )
        if len(names) != len(stem):
            raise ValueError(f"case_ids has {len(names)} names for {len(stem)} images")
        seeds = torch.tensor([dropout_stream(name, self.seed) for name in names], device=stem.device)
        drawn, streams = [], [seeds]
        chunk = max(1, self.max_batch // max(1, len(stem)))
        with _sampling(layers, streams):
            for first in range(0, self.samples, chunk):
                numbers = torch.arange(first, min(first + chunk, self.samples), device=stem.device)
                streams[0] = (seeds + _mix(numbers + 1)[:, None]).flatten()
                tiled = stem.repeat(len(numbers), *(1,) * (stem.ndim - 1))
                logits = network.plain(tiled).logits
                drawn.append(logits.reshape(len(numbers), len(stem), -1))
        return torch.cat(drawn)

    def _viewed(self, images: Tensor, network: Classifier) -> Iterator[Tensor]:
        """Yield the logits (N, C) of every view."""
        height, width = images.shape[-2:]
        if height != width and (turned := [name for name in self.views if name in _TURNED]):
            raise ValueError(
                f"{' and '.join(turned)} need square images, got {height} x {width} pixels: leave them out "
                "of the views"
            )
        for name in self.views:
            yield network.plain(network.stem(VIEWS[name](images))).logits


class EnsembleInferer(Inferer):
    """One plain pass of each of several networks, reduced to mean softmax and mean entropy.

    Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
    NeurIPS 2017; the same reduction as that of stored outputs, :meth:`monai_sf.results.Results.ensemble`.
    """

    mean = "ensemble_log_softmax"

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: nn.ModuleList, case_ids: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Return the outputs of a batch.

        Args:
            inputs: (N, channels, H, W) float images in [0, 1].
            network: the networks, in evaluation mode, at least one.
            case_ids: not used.

        Returns:
            ``ensemble_log_softmax`` (N, C), the log of the mean softmax, and ``ensemble_entropy`` (N,), the
            mean of the networks' entropies in nats, both float32.

        Raises:
            ValueError: a network is in training mode.
        """
        single = MCDropoutInferer(0)
        logits = torch.stack([single(inputs, one, plain=True)["logits"] for one in _classifiers(network)])
        return {
            self.mean: mean_log_softmax(logits).float(),
            "ensemble_entropy": expected_entropy(logits).float(),
        }


def _classifiers(networks: nn.ModuleList) -> Iterator[Classifier]:
    for one in networks:
        assert isinstance(one, Classifier)
        yield one


def _content_name(image: Tensor) -> str:
    content = image.detach().float().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
