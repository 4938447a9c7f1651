"""In place of Ray's ``setup_worker.py``: have the zygote fork a worker, which need not import torch."""

import argparse
import os

from helpers.zygote import Process

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serialized-runtime-env-context")
    parser.add_argument("--language")
    _, arguments = parser.parse_known_args()
    raise SystemExit(Process(os.environ["ZYGOTE"], arguments, "/dev/null", os.environ, "script").wait())
