"""One run in several processes, as started by ``torchrun``; in a single process everything here is a no-op.

Rank 0 writes files and shows progress; the others compute. Shared decisions (the checkpoint, whether a run is
complete) are read by rank 0 and broadcast, so that nothing depends on how fast a network file system shows
one machine what another has written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from monai_sf.files.locks import locked

T = TypeVar("T")

_host_group: dist.ProcessGroup | None = None


def rank() -> int:
    """Return the number of this process, 0 to ``world_size() - 1``."""
    return dist.get_rank() if _is_started() else 0


def world_size() -> int:
    """Return the number of processes of the run; 1 if it was not started by torchrun."""
    return dist.get_world_size() if _is_started() else 1


def is_main() -> bool:
    """Return whether this is the process that writes files and shows progress."""
    return rank() == 0


def _is_started() -> bool:
    return dist.is_available() and dist.is_initialized()


def local_device() -> torch.device:
    """Return the device of this process: its own GPU, or the CPU if there is none.

    Raises:
        ValueError: there are fewer GPUs than processes on this machine.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= count:
        raise ValueError(
            f"LOCAL_RANK is {local}, but this machine has {count} GPUs: start torchrun with "
            f"--nproc_per_node={count}"
        )
    return torch.device("cuda", local)


def start(timeout_minutes: float = 120.0) -> None:
    """Join the process group of torchrun; without torchrun do nothing.

    An error needs no clean-up: the process ends, and torchrun ends the others.

    Args:
        timeout_minutes: longest wait for another process, e.g. while rank 0 prepares the data.
    """
    global _host_group
    if "WORLD_SIZE" not in os.environ or _is_started():
        return
    if "SLURM_JOB_ID" in os.environ:  # Ignite would use SLURM's local rank, which is 0 under torchrun
        os.environ["SLURM_LOCALID"] = os.environ["LOCAL_RANK"]
    device, wait = local_device(), timedelta(minutes=timeout_minutes)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=wait)
    if not is_main():
        logging.disable(logging.INFO)  # only rank 0 logs
    # CPU tensors are sent from main memory, even where GPU tensors go from GPU to GPU
    _host_group = dist.new_group(backend="gloo", timeout=wait) if device.type == "cuda" else None


def stop() -> None:
    """Leave the process group, after all processes have arrived."""
    global _host_group
    if _is_started():
        barrier()
        dist.destroy_process_group()
        _host_group = None
        logging.disable(logging.NOTSET)


def barrier() -> None:
    """Wait for all processes."""
    gather(None)


def gather(value: T) -> list[T]:
    """Return the values of all processes, in the order of ranks; any picklable objects."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value, group=_host_group)
    return found


def from_main(make: Callable[[], T]) -> T:
    """Call ``make`` on rank 0 only and return its result on all ranks.

    Raises:
        RuntimeError: ``make`` failed on rank 0, which raises the original error.
    """
    if world_size() == 1:
        return make()
    message: list[Any] = [None, None]
    if is_main():
        try:
            message[0] = make()
        except BaseException as error:
            message[1] = f"{type(error).__name__}: {error}"
            dist.broadcast_object_list(message, 0, group=_host_group)
            raise
    dist.broadcast_object_list(message, 0, group=_host_group)
    if message[1] is not None:
        raise RuntimeError(f"rank 0 failed: {message[1]}")
    return message[0]  # type: ignore[no-any-return]


@contextmanager
def working_on(run_dir: str | os.PathLike[str]) -> Iterator[None]:
    """Lock a run's folder; the processes of this run count as one.

    Raises:
        BusyError: another process works on it; names it and its host.
        RuntimeError: on the other ranks, if rank 0 has raised it.
        OSError: the folder cannot be written to.
    """
    path = os.path.join(run_dir, ".lock")
    busy = f"another process works on {run_dir}: wait for it or choose another output_dir"
    with ExitStack() as held:
        from_main(lambda: held.enter_context(locked(path, busy, again=True)))
        yield


def wait_for_main() -> None:
    """Wait, on all ranks but 0, until rank 0 calls :func:`main_is_ready`."""
    if not is_main():
        barrier()


def main_is_ready() -> None:
    """Release the processes that wait in :func:`wait_for_main`."""
    if is_main():
        barrier()


def share(count: int, part: int, parts: int) -> slice:
    """Return one process's shard of ``count`` items; sizes differ by at most one."""
    first, last = (-(-count * p // parts) for p in (part, part + 1))
    return slice(first, last)


def random_half(count: int, device: torch.device) -> Tensor:
    """Draw which of this process's ``count`` cases are in a random half of the global batch.

    Returns:
        (count,) bool on the device, which does not wait for it; drawn from the CPU's torch generator of rank
        0, as in a single process.
    """
    counts = gather(count)
    order = from_main(lambda: torch.randperm(sum(counts)))
    chosen = torch.zeros(len(order), dtype=torch.bool)
    chosen[order[: (len(order) + 1) // 2]] = True
    first = sum(counts[: rank()])
    mine = chosen[first : first + count]
    return (mine.pin_memory() if device.type == "cuda" else mine).to(device, non_blocking=True)


def mean_of_all(mean: Tensor, count: int) -> Tensor:
    """Return the mean over the global batch, from each process's mean over its ``count`` cases.

    Args:
        mean: scalar.
        count: of the cases.

    Returns:
        Scalar float64 on the same device, for which the host does not wait.
    """
    sums = torch.stack([mean.double() * count, mean.new_full((), count, dtype=torch.float64)])
    if world_size() > 1:
        dist.all_reduce(sums)
    return sums[0] / sums[1]


def broadcast_state(module: nn.Module) -> None:
    """Broadcast the parameters and buffers of rank 0 to all processes."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def sum_gradients(parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
    """Sum the gradients of all processes, in place, and their losses.

    All gradients are sent in one message: for networks of this size it takes milliseconds between GPUs of a
    machine, so overlapping it with the backward pass does not pay.

    Args:
        parameters: whose gradients, the same on all ranks.
        loss: scalar, this rank's share of the loss of the batch.

    Returns:
        The loss of the whole batch, a detached scalar.
    """
    loss = loss.detach()
    if world_size() == 1:
        return loss
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([loss.reshape(1).to(gradients[0].dtype), *(g.reshape(-1) for g in gradients)])
    dist.all_reduce(flat)
    totals = torch.split(flat[1:], [gradient.numel() for gradient in gradients])
    for gradient, total in zip(gradients, totals, strict=True):
        gradient.copy_(total.view_as(gradient))
    return flat[0].to(loss.dtype)


_sum_of_all_ranks: Callable[[Tensor], Tensor] = all_reduce


class BatchNormOfAllRanks(nn.SyncBatchNorm):
    """Batch norm over the batch of all processes; PyTorch's own does it on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, channels, ...) over the global batch."""
        if not self.training or x.is_cuda:
            return super().forward(x)
        # the gradient of these sums is summed too: each value is part of every process's loss
        over = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1, *(1,) * (x.ndim - 2)]
        sums = _sum_of_all_ranks(torch.cat([x.sum(over), x.new_tensor([x.numel() // x.shape[1]])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = _sum_of_all_ranks(centred.square().sum(over)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.num_batches_tracked: Tensor
                self.num_batches_tracked += 1
                weight = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, weight)
                self.running_var.lerp_(variance * (count / (count - 1)), weight)
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y


def share_batch_norm(network: nn.Module) -> None:
    """Synchronise the batch norms of a network over all processes; in place, names are kept."""
    if world_size() == 1:
        return
    shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    for module in shared.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.__class__ = BatchNormOfAllRanks
