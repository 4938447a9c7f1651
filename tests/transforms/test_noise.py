import pytest
import torch
from monai_sf.transforms import MODALITIES, corrupt
from monai_sf.transforms.noise import apply_noise, sample_noise
from monai_sf.transforms.severities import severity_scale


@pytest.mark.parametrize("modality", [None, *MODALITIES])
@pytest.mark.parametrize("severity", range(1, 6))
def test_the_stated_sigma_before_clipping(modality, severity):
    (sigma,) = severity_scale("gaussian_noise", modality).levels[severity - 1]
    image = torch.full((3, 200, 200), 0.5, dtype=torch.float64)
    noise = corrupt(image, "gaussian_noise", severity, modality=modality, seeds=severity) - image
    kept = noise[noise.abs() < 0.5]
    # Of a normal distribution cut at ± 0.5 the deviation is known.
    cut = torch.distributions.Normal(0, sigma)
    tail = 1 - 2 * cut.cdf(torch.tensor(-0.5, dtype=torch.float64))
    variance = sigma**2 * (1 - 2 * (0.5 / sigma) * (sigma * cut.log_prob(torch.tensor(0.5)).exp()) / tail)
    assert kept.std().item() == pytest.approx(variance.sqrt().item(), rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.004)


def test_noise_is_clipped():
    result = corrupt(torch.tensor([[[0.0, 1.0] * 50] * 100]), "gaussian_noise", 5, seeds=1)
    assert (result == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert (result == 1).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_severities_share_one_noise():
    images = torch.full((1, 1, 50, 50), 0.5)
    bits = sample_noise(images, [4])
    weak, strong = (apply_noise(images, bits, (sigma,)) - 0.5 for sigma in (0.01, 0.05))
    torch.testing.assert_close(weak * 5, strong, rtol=0, atol=1e-6)
