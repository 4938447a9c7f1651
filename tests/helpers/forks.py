"""Processes that tests fork from their own, without the seconds that importing torch takes in a new one."""

import os
import runpy
import sys
import traceback
import uuid
from multiprocessing import forkserver
from types import SimpleNamespace

from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def fork(act):
    """Call a function in a fork of this process, which ends with it; return its process id."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)
    return pid


def status_of(pid):
    """Wait for a fork and return its exit status, that of a signal negative."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forked(act, folder):
    """Call a function in a fork; return its exit status and what it has printed."""

    def printing():
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            file = os.open(folder / f"printed-{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
            name = "stdout" if number == 1 else "stderr"
            setattr(sys, name, os.fdopen(os.dup(number), "w", buffering=1, errors=stream.errors))
        act()

    status = status_of(fork(printing))
    printed = [(folder / f"printed-{number}").read_text() for number in (1, 2)]
    return SimpleNamespace(returncode=status, stdout=printed[0], stderr=printed[1])


def as_new(folder=None):
    """Let a fork import monai_sf anew, as the first import of a process that runs in a folder."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "monai_sf"]:
        del sys.modules[name]
    forkserver._forkserver.__init__()  # the one of the tests is not a child of the fork
    os.chdir(folder or os.getcwd())
    sys.path.insert(0, "")


def run_module(name, *arguments):
    """Run a module as ``python -m`` does, in a fork."""
    sys.argv = [name, *map(str, arguments)]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _printing_errors(act, *arguments):
    """Call a function; torchrun's agent tells the error of only one process, which may not be the first."""
    try:
        act(*arguments)
    except Exception:
        traceback.print_exc()
        raise


def torchrun(act, folder, *arguments):
    """Call a function in two processes that torchrun's own agent forks; as :func:`forked`."""

    def launch():
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=2, run_id=uuid.uuid4().hex, rdzv_backend="c10d",
            rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.1, start_method="fork",
        )  # fmt: skip
        elastic_launch(config, _printing_errors)(act, *arguments)

    return forked(launch, folder)
