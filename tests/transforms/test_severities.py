from pathlib import Path

import pytest
from monai_sf.transforms.severities import (
    CORRUPTIONS,
    MODALITIES,
    check_severity,
    severity_scale,
)

DOCS = Path(__file__).parents[2] / "docs" / "guides" / "corruptions.md"


def test_the_five_kinds_are_those_of_the_paper():
    assert CORRUPTIONS == ("brightness_up", "brightness_down", "motion_blur", "elastic", "gaussian_noise")


@pytest.mark.parametrize("modality", [None, *MODALITIES])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_strengths_rise_and_name_their_source(kind, modality):
    scale = severity_scale(kind, modality)
    strengths = [max(level[-1], 1 / level[-1]) if "brightness" in kind else level for level in scale.levels]
    assert strengths == sorted(strengths)
    assert len(set(strengths)) == 5
    assert "MedMNIST-C" in scale.source or "ImageNet-C" in scale.source


def test_published_numbers():
    assert severity_scale("gaussian_noise", "xray").levels == ((0.04,), (0.08,), (0.12,), (0.18,), (0.26,))
    assert severity_scale("gaussian_noise", "ct").levels[-1] == (0.2,)
    assert severity_scale("motion_blur").levels[2] == (15, 8)
    assert severity_scale("brightness_down", "dermoscopy").levels[-1] == (0.5,)


@pytest.mark.parametrize("modality", [None, *MODALITIES])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_documentation_shows_every_number(kind, modality):
    def shown(level):
        if kind == "elastic":
            return f"{level[0]:.2%}".replace("%", " %")
        return f"({level[0]:g}, {level[1]:g})" if len(level) == 2 else f"{level[0]:g}"

    scale = severity_scale(kind, modality)
    wanted = f"| {', '.join(map(shown, scale.levels))} |"
    rows = [line for line in DOCS.read_text().splitlines() if f"| {kind} |" in line]
    name = "every image" if kind == "elastic" else modality or "default"
    assert any(wanted in row and name in row for row in rows), wanted


def test_unknown_kind_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"brightness_up, brightness_down, motion_blur.*got 'blur'"):
        severity_scale("blur")


def test_unknown_modality_lists_those_that_exist():
    with pytest.raises(ValueError, match="dermoscopy, xray, fluorescence, ct, got 'mri'"):
        severity_scale("elastic", "mri")


@pytest.mark.parametrize("severity", [-1, 6])
def test_severity_out_of_range(severity):
    with pytest.raises(ValueError, match=f"from 0 to 5, got {severity}"):
        check_severity(severity)


@pytest.mark.parametrize("severity", [2.0, "3", True, None])
def test_severity_that_is_no_integer(severity):
    with pytest.raises(TypeError, match="integer from 0 to 5"):
        check_severity(severity)
