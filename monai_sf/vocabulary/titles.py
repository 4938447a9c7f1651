"""Technical names as words, the same in tables, figures and reports."""

from __future__ import annotations

_SPELLING = {"ct": "CT", "fc": "FC", "mri": "MRI", "xray": "X-ray", "mskcc": "MSKCC", "nih14": "NIH14"}


def title(name: str) -> str:
    """Return the name of a dataset, study, corruption or class as words: ``chest_xray`` is "chest X-ray".

    Examples:
        >>> from monai_sf.vocabulary.titles import title
        >>> [title(name) for name in ("chest_xray", "lung_nodule_ct", "gaussian_noise")]
        ['chest X-ray', 'lung nodule CT', 'gaussian noise']
    """
    return " ".join(_SPELLING.get(word, word) for word in name.replace("_", " ").split())
