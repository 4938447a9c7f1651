"""The format of a results folder, shared by writer and reader."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.results.case_table import not_utf8
from monai_sf.vocabulary.reference import REFERENCE_ARRAYS
from monai_sf.vocabulary.registry import NAME_RULE, is_name

