"""Commands of the documentation, run by bash; ``python`` and others are stand-ins that cost a fork.

A reader's ``python -m monai.bundle run ...`` takes seconds to import torch and MONAI, which this process has
done. So the first folder of PATH holds clients that hand their arguments, streams, folder and environment to
this process, which forks a child that runs the module, with config files that shrink it (:func:`shrunk`).
"""

import ast
import importlib.metadata
import json
import logging
import os
import re
import runpy
import select
import socket
import struct
import subprocess
import sys
import time
import urllib.request
import uuid
import zipfile
from multiprocessing import forkserver, util
from pathlib import Path

import torch.distributed.run
from packaging.requirements import Requirement
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from helpers.fences import Fence, PageError
from helpers.forks import as_new, fork, run_module
from helpers.zygote import _fork as fork_server
from monai_sf.bundle.bases import SHARED

CLIENT = """#!{python} -IS
import json, os, socket, struct, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
request = dict(arguments=sys.argv, folder=os.getcwd(), environment=dict(os.environ))
socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
sys.exit(struct.unpack("i", connection.recv(4))[0])
"""

#: The first line of each block's script; the others have the numbers that they have in the page. Each command
#: knows its line, and the folder where a block ends is that in which the next one begins.
PROLOGUE = (
    "trap 'export PAGE_LINE=$LINENO' DEBUG; trap 'pwd >\"$PAGE_FOLDER\"' EXIT; "
    'trap \'echo "$LINENO: ended with the status $?: $BASH_COMMAND" >"$PAGE_FAILED"\' ERR'
)

LIMIT_S = 3600

#: Commands that no test can run as they stand: a part of their arguments, and what is added to them.
NOT_RUN = {
    # a cluster: tests/benchmark/test_ray.py runs benchmarks on one that it starts
    "--address head:6379": "--dry-run",
    # too long, even with tiny networks: the pages of the four bundles run the benchmark of each,
    # tests/benchmark/test_run.py those of several at once
    "bundles/dermoscopy bundles/chest_xray bundles/fc_microscopy bundles/lung_nodule_ct": "--dry-run",
}


class Shell:
    """Bash, with stand-ins for the commands that take long or touch more than the page's folder.

    Args:
        folder: for its own files, with the config files that shrink what is run; see :func:`shrunk`.
        environment: further variables.
    """

    def __init__(self, folder, environment):
        self.folder = folder
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "socket"))
        self.listener.listen()
        (folder / "bin").mkdir()
        for name in STAND_INS:
            client = folder / "bin" / name
            client.write_text(CLIENT.format(python=sys.executable, path=str(folder / "socket")))
            client.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PAGE_FOLDER": str(folder / "here"),
            "PAGE_FAILED": str(folder / "failed"),
            "OMP_NUM_THREADS": "1",
            **environment,
        }

    def close(self):
        self.listener.close()

    def run(self, fence: Fence, text: str, here: Path) -> Path:
        """Run a block in a folder; return the folder where it ends."""
        script, printed = self.folder / "block.sh", self.folder / "printed"
        script.write_text(PROLOGUE + "\n" * (fence.line - 1) + text)
        with open(printed, "wb") as output:
            bash = subprocess.Popen(
                ["bash", "-euo", "pipefail", str(script)],
                cwd=here, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            failed = self._serve(bash)
        if failed or bash.returncode:
            said = printed.read_text(errors="replace")
            where = failed or [f"{fence.line}: the block ended with the status {bash.returncode}"]
            if not failed and (file := self.folder / "failed").exists():
                where = [file.read_text().rstrip()]
            where = [f"{fence.page}:{line}" for line in where]
            raise PageError("\n".join([*where, "", said[-6000:].replace(str(script), fence.page)]))
        return Path((self.folder / "here").read_text().removesuffix("\n"))

    def _serve(self, bash):
        """Fork what the stand-ins ask for until bash has ended; return the commands that failed."""
        failed, running = [], {}  # the descriptor of a child to its process, connection, and command
        end, ends = os.pidfd_open(bash.pid), time.monotonic() + LIMIT_S
        while bash.poll() is None:
            ready, _, _ = select.select([self.listener, end, *running], [], [], ends - time.monotonic())
            if not ready:
                bash.kill()
                for pid, _, _ in running.values():
                    os.kill(pid, 9)
                failed.append(f"?: ended after {LIMIT_S} s")
            for one in ready:
                if one is self.listener:
                    connection, _ = self.listener.accept()
                    message, fds, _, _ = socket.recv_fds(connection, 1 << 20, 3)
                    request = json.loads(message)
                    pid = fork(lambda request=request, fds=fds: self._be(request, fds))
                    for fd in fds:
                        os.close(fd)
                    running[os.pidfd_open(pid)] = (pid, connection, request)
                elif one in running:
                    pid, connection, request = running.pop(one)
                    os.close(one)
                    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    if status:
                        line, said = request["environment"]["PAGE_LINE"], request["arguments"]
                        command = " ".join([Path(said[0]).name, *said[1:]])
                        failed.append(f"{line}: ended with the status {status}: {command}")
                    connection.sendall(struct.pack("i", status))
                    connection.close()
        os.close(end)
        return failed

    def _be(self, request, fds):
        """Be the process of a command: with its streams, folder, environment, and nothing of the tests."""
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in enumerate("rww"))
        for logger in [logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)]:
            for handler in list(logger.handlers):
                if type(handler).__module__.startswith("_pytest"):
                    logger.removeHandler(handler)
                elif type(handler) is logging.StreamHandler:
                    handler.stream = sys.stderr
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        if path := os.environ.get("PYTHONPATH"):  # packages that add scores must be there at the first import
            as_new(request["folder"])
            sys.path[1:1] = path.split(os.pathsep)
        sys.path.insert(0, "")
        forkserver._forkserver.__init__()  # one of the tests is no child of this process
        util.spawnv_passfds = fork_server
        forkserver.set_forkserver_preload([])
        forkserver.ensure_running()  # while no other thread holds a lock that its forks would wait for
        name, *arguments = request["arguments"]
        STAND_INS[Path(name).name](arguments, self.folder)


def _python(arguments, own):
    if arguments[:2] == ["-m", "pytest"]:  # which is running in this process
        sys.exit(subprocess.run([sys.executable, *arguments], check=False).returncode)
    if arguments[0] == "-m":
        run_module(arguments[1], *shrunk(arguments[1], arguments[2:], own))
    elif arguments[0] == "-c":
        sys.argv = arguments
        exec(arguments[1], {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def shrunk(module, arguments, own):
    """Return the arguments of a command with what makes it small: config files that come last, and counts.

    They are ``benchmark.yaml``, ``report.yaml`` or, for all that prepare, train and evaluate, ``run.yaml`` of
    the folder, or ``run-<bundle>.yaml`` if there is one. An inference is as small as its run.
    """
    if module == "monai.bundle" and arguments[0] == "run":
        at = arguments.index("--config_file") + 1
        files = ast.literal_eval(arguments[at]) if arguments[at].startswith("[") else [arguments[at]]
        _refuse_unknown_keys(arguments, Path(files[0]).parent)
        name = Path(files[-1]).stem
        kind = {"demo": "benchmark", "benchmark": "benchmark", "report": "report", "inference": "inference"}
        if more := _small(own, kind.get(name, "run"), _bundle_of(Path(files[0]).parent)):
            last = [files.pop()] if name == "multi_gpu" else []  # it must be
            small = Path(files[0]).with_name("small.yaml")
            files += [str(small)] if Path(files[0]).stem == "train" and small.is_file() else []
            files += [str(more), *last]
        return [*arguments[:at], str(files) if len(files) > 1 else files[0], *arguments[at + 1 :]]
    if module == "monai_sf.benchmark" and arguments[0] == "run":
        less = {"--seeds": "0", "--studies": "iid", "--methods": "confidnet", "--workers": "1"}
        for option, value in less.items():
            arguments = arguments if option in arguments else [*arguments, option, value]
        bundles = [Path(word).name for word in arguments if Path(word, "configs").is_dir()]
        more = _small(own, "run", bundles[0] if len(bundles) == 1 else "")
        added = [option for part, option in NOT_RUN.items() if part in " ".join(arguments)]
        return [*arguments, "--overlay", "small.yaml", str(more), *added]
    if module == "monai_sf.tables":
        return [*arguments, "--resamples", "20"]
    return arguments


def _refuse_unknown_keys(arguments, configs):
    """Stop at a key that no config has, which MONAI adds to the config without a word."""
    files = [*configs.glob("*.yaml"), *configs.glob("*.json"), *SHARED.glob("*.yaml")]
    known = {
        key for file in files for key in re.findall(r'^ {0,2}["+]*(\w+)', file.read_text(), re.MULTILINE)
    }
    given = [word[2:].partition("#")[0] for word in arguments if word.startswith("--")]
    if unknown := set(given) - known - {"config_file", "tracking"}:
        sys.exit(f"no config has the key {', '.join(sorted(unknown))}")


def _bundle_of(configs):
    """Return the name of the dataset, whatever the folder of its bundle is called."""
    train = configs / "train.yaml"
    named = re.search(r"^dataset_name: (\w+)", train.read_text(), re.MULTILINE) if train.is_file() else None
    return named[1] if named else configs.resolve().parent.name


def _small(own, kind, bundle):
    found = [own / f"{name}.yaml" for name in (f"{kind}-{bundle}", kind)]
    return next((file for file in found if file.is_file()), None)


def _torchrun(arguments, own):
    """Fork two processes by torchrun's own agent."""
    options = torch.distributed.run.parse_args(arguments)
    assert (options.standalone, options.module) == (True, True)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=int(options.nproc_per_node), max_restarts=0,
        run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0", monitor_interval=0.1,
        start_method="fork",
    )  # fmt: skip
    module = options.training_script
    elastic_launch(config, run_module)(module, *shrunk(module, options.training_script_args, own))


def _pip(arguments, own):
    """Install nothing, but check that what is asked for exists."""
    command, *rest = arguments
    assert command == "install", command
    while rest:
        word = rest.pop(0)
        if word == "-c":
            assert Path(rest.pop(0)).is_file()
            continue
        assert not word.startswith("-"), word
        local = re.fullmatch(r"\.(\[.*\])?", word)
        asked = Requirement("monai-sf" + (local[1] or "")) if local else Requirement(word)
        assert not local or Path("setup.cfg").is_file()
        known = importlib.metadata.metadata("monai-sf")
        if asked.name == "monai-sf":
            assert asked.extras <= set(known.get_all("Provides-Extra")), f"no such extra: {word}"
        else:
            needed = {Requirement(one).name for one in known.get_all("Requires-Dist")}
            assert asked.name in needed, f"monai_sf does not know {word}"


def _xdg_open(arguments, own):
    (name,) = arguments
    assert Path(name).stat().st_size > 0


def _unzip(arguments, own):
    archive, option, folder = arguments
    assert option == "-d"
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def _curl(arguments, own):
    option, content, address = arguments
    assert option == "--data-binary"
    assert content.startswith("@")
    with urllib.request.urlopen(address, Path(content[1:]).read_bytes()) as answer:
        print(answer.read().decode())


STAND_INS = {
    "python": _python,
    "torchrun": _torchrun,
    "pip": _pip,
    "xdg-open": _xdg_open,
    "unzip": _unzip,
    "curl": _curl,
}
