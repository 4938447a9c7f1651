"""What the tests of images share."""

import pytest

from monai_sf.data import case_images


@pytest.fixture
def decoded(monkeypatch):
    """The files that this process decodes."""
    files = []
    read = case_images.read_image

    def counted(file, **how):
        files.append(file)
        return read(file, **how)

    monkeypatch.setattr(case_images, "read_image", counted)
    return files
