"""A made-up hospital's images and table, in the working folder."""

import pytest

from helpers.own_images import write_study


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path)
    return tmp_path
