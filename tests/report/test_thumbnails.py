import io

import numpy as np
import pytest
from PIL import Image

from monai_sf.report.thumbnails import Sheets


def test_sheets_hold_every_tile_at_its_place():
    sheets = Sheets(16)
    values = [(i * 37) % 256 for i in range(300)]
    assert [sheets.add(np.full((16, 16), v, np.uint8)) for v in values] == list(range(300))
    files = sheets.finish()
    pictures = [np.asarray(Image.open(io.BytesIO(f)).convert("L")).astype(int) for f in files]
    assert [p.shape for p in pictures] == [(256, 256), (3 * 16, 256)]
    for i, v in enumerate(values):
        top, left = i % 256 // 16 * 16, i % 16 * 16
        tile = pictures[i // 256][top : top + 16, left : left + 16]
        assert abs(tile - v).max() <= 3


def test_size_must_fit_coded_blocks():
    with pytest.raises(ValueError, match="multiple of 16, got 50"):
        Sheets(50)
