"""What a process has set for all that runs in it, to be compared before and after."""

import gc
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageFile
import SimpleITK as sitk  # noqa: N813
import torch
import torch._dynamo
from monai.data import get_track_meta
from monai.utils import get_seed
from tqdm import tqdm

tqdm.get_lock()  # its first bar fixes how processes are started
#: Set by torch when an optimiser is made.
BY_TORCH = {"TORCHINDUCTOR_CACHE_DIR"}


def state():
    """Return the settings by name; two of them are equal if nothing was left behind in between."""
    return {**_torch(), **_python(), **_libraries()}


@contextmanager
def untouched(what):
    """Fail, and name the settings, if the process is not left as it was."""
    before = state()
    try:
        yield
    finally:
        changed = _changed(before)
        if changed:
            gc.collect()  # files and threads that nothing refers to any more
            changed = _changed(before)
        assert not changed, f"{what} left {changed}"


def _changed(before):
    after = state()
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    # files and threads of others may have ended
    return {name: two for name, two in changed.items() if not (isinstance(two[0], set) and two[1] <= two[0])}


def _torch():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "torch": torch.get_rng_state().tolist(),
        "deterministic": (cudnn.deterministic, cudnn.benchmark, cudnn.enabled, cudnn.allow_tf32),
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "precision": (torch.get_float32_matmul_precision(), matmul.allow_tf32),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "track_meta": get_track_meta(),
        "seed": get_seed(),
    }


def _python():
    loggers = {name: one for name, one in logging.root.manager.loggerDict.items() if hasattr(one, "level")}
    set_up = {
        name: (one.level, one.disabled, one.propagate, [*one.handlers]) for name, one in loggers.items()
    }
    return {
        "random": random.getstate(),
        "warnings": [*warnings.filters],
        "showwarning": warnings.showwarning,
        "excepthooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "hooks": (sys.displayhook, sys.gettrace(), sys.getprofile()),
        "streams": (sys.stdout, sys.stderr, sys.stdin),
        "path": [*sys.path],
        "argv": [*sys.argv],
        "recursion": sys.getrecursionlimit(),
        "environment": {name: text for name, text in os.environ.items() if name not in BY_TORCH},
        "directory": os.getcwd(),
        "signals": {number: signal.getsignal(number) for number in signal.Signals},
        "threading": {thread for thread in threading.enumerate() if type(thread).__name__ != "TMonitor"},
        "processes": multiprocessing.active_children(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "files": {str(file) for file in _open_files()},
        "collection": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "locale": locale.setlocale(locale.LC_ALL),
        "logging": (logging.root.manager.disable, logging.root.level, [*logging.root.handlers]),
        "loggers": {name: one for name, one in set_up.items() if one != (logging.NOTSET, False, True, [])},
    }


def _open_files():
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            file = descriptor.readlink()
        except OSError:
            continue
        elsewhere = ("/dev", "/proc", "/memfd", mpl.get_data_path())  # its fonts stay open
        if file.is_absolute() and not str(file).startswith(elsewhere):
            yield file


def _libraries():
    return {
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "numpy errors": np.geterr(),
        "numpy text": {key: value for key, value in np.get_printoptions().items() if key != "formatter"},
        "pandas": {key: pd.get_option(key) for key in ("display.max_rows", "mode.chained_assignment")},
        "matplotlib": dict.__getitem__(mpl.rcParams, "backend"),
        "pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        "itk": (
            sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(),
            sitk.ProcessObject.GetGlobalWarningDisplay(),
        ),
    }
