"""Monte Carlo dropout and augmented views as a MONAI inferer, reduced to a few numbers per class and case."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from monai.inferers import Inferer
from torch import Tensor

from monai_sf.inferers.images import check_floating
from monai_sf.inferers.masks import DropoutSampler, Mask, dropout_stream, sample_streams
from monai_sf.inferers.memory import BatchLimit
from monai_sf.networks import Classifier, computing_in
from monai_sf.networks.precision import check_precision
from monai_sf.scores.functions import normalized
from monai_sf.scores.samples import dropout_arrays_of, mean_and_entropy_of

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
        max_batch: maximum number of images per pass; T samples of a batch are tiled up to this many. By
            default what the memory of a GPU allows, and 256 on a CPU. Outputs do not depend on it, up to
            rounding.
        precision: one of :data:`monai_sf.networks.PRECISIONS`, that of the passes; all that follows the
            logits is computed in float32 and float64.
        seed: the same seed gives the same samples.

    Raises:
        ValueError: ``samples`` is negative, ``max_batch`` not positive, or a precision or view unknown, or a
            view given twice.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.inferers import MCDropoutInferer
        >>> from monai_sf.networks import ConfidenceClassifier
        >>> layers = [
        ...     nn.Flatten(),
        ...     nn.Linear(64, 16),
        ...     nn.ReLU(),
        ...     nn.Dropout(0.5),
        ...     nn.Linear(16, 2),
        ... ]
        >>> network = ConfidenceClassifier(nn.Sequential(*layers), num_classes=2).eval()
        >>> images = torch.rand(3, 1, 8, 8)
        >>> inferer = MCDropoutInferer(samples=10, views=["horizontal_flip"])
        >>> found = inferer(images, network, case_ids=["a", "b", "c"])
        >>> sorted(found)
        ['features', 'logits', 'mcd_entropy', 'mcd_log_softmax', 'mcd_softmax_variance',
         'mcd_waic', 'tta_entropy', 'tta_log_softmax']
        >>> # a case has its own random numbers
        >>> alone = inferer(images[1:2], network, case_ids=["b"])
        >>> torch.allclose(
        ...     alone["mcd_log_softmax"], found["mcd_log_softmax"][1:2], atol=1e-5
        ... )
        True
    """

    def __init__(
        self,
        samples: int = 50,
        *,
        views: Sequence[str] = (),
        max_batch: int | None = None,
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if samples < 0:
            raise ValueError(f"samples must be at least 0, got {samples}")
        if max_batch is not None and max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {max_batch}")
        if isinstance(views, str) or not set(views) <= VIEWS.keys() or len(set(views)) < len(views):
            raise ValueError(f"views must be a list of different ones of {', '.join(VIEWS)}, got {views!r}")
        check_precision(precision)
        self.samples, self.views, self.precision, self.seed = samples, tuple(views), precision, seed
        self._limit = BatchLimit(max_batch)
        self._masks: tuple[Mask, ...] = ()  # of the last batch, which the next one is likely to need

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
            TypeError: the images are bytes.
            ValueError: the network is in training mode, or has no dropout, so that all samples would be
                equal; the images are not square, and a view needs it; or the device has no such precision.
        """
        check_floating(inputs)
        if network.training:
            raise ValueError("network is in training mode: call network.eval() first")
        samples = views = None
        with computing_in(self.precision, inputs.device):
            stem = network.stem(inputs)
            found = network.plain(stem) if plain else network.outputs(inputs, stem)
            if self.samples and not plain:
                names = case_ids if case_ids is not None else [_content_name(image) for image in inputs]
                samples = self._sampled(stem, network, names)
            if self.views and not plain:
                views = torch.stack([found.logits, *self._viewed(inputs, network)]).float()
        outputs = {name: array.float() for name, array in found.arrays().items()}
        if samples is not None:
            outputs |= dropout_arrays_of(normalized(samples.double()))
        if views is not None:
            mean, entropy = mean_and_entropy_of(normalized(views.double()))
            outputs |= {"tta_log_softmax": mean, "tta_entropy": entropy}
        return outputs

    def _sampled(self, stem: Tensor, network: Classifier, names: Sequence[str]) -> Tensor:
        """Return the logits (T, N, C) float32 of dropout samples."""
        cases = len(stem)
        if len(names) != cases:
            raise ValueError(f"case_ids has {len(names)} names for {cases} images")
        streams = _on_device([dropout_stream(name, self.seed) for name in names], stem.device)
        drawn: list[Tensor] = []
        done = 0
        with DropoutSampler(network, self._masks) as sampler:

            def draw(count: int) -> Tensor:
                sampler.draw(sample_streams(streams, done, count))
                tiled = torch.cat([stem] * count)  # keeps channels-last, which repeat() does not
                return network.plain(tiled).logits.float().reshape(count, cases, -1)

            while done < self.samples:
                kind = (stem.shape[1:], stem.dtype, stem.device)
                count, logits = self._limit.run(kind, stem.device, self.samples - done, cases, draw)
                drawn.append(logits)
                done += count
        self._masks = sampler.small
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


def _on_device(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Return int64 numbers on a device, without waiting for what it does."""
    tensor = torch.tensor(numbers, dtype=torch.int64)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def _content_name(image: Tensor) -> str:
    content = image.detach().float().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
