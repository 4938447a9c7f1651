"""What is missing in a report: sentences for the reader, each with the part of the page that it is about."""

from __future__ import annotations

from typing import Literal, NamedTuple

#: ``report``: which runs and columns it has; ``numbers``: what was counted, and how.
About = Literal["report", "numbers", "pictures", "map"]


class Note(NamedTuple):
    """A note of the page; scripts go by ``about``, never by words of the text."""

    about: About
    text: str
