"""A mode that refuses what waits for a device, or mixes two of them."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
aten = torch.ops.aten
#: Whose result the host has to know before it can go on.
ASKING = {
    aten._local_scalar_dense,
    aten.is_nonzero,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
}
COPIES = {aten._to_copy, aten.copy_}


class WaitingError(AssertionError):
    """Something would wait for a device, or mix two of them."""


class NobodyWaits(TorchDispatchMode):
    """Refuse what waits for a device: the meta device stands for one, or the CPU itself."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = function.overloadpacket
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        here = [x for x in tensors if x.device == self.device]
        if packet in ASKING and here:
            raise WaitingError(f"{function} asks for a value")
        if packet in COPIES:
            self.check_copy(function, args, kwargs)
        elif here and any(x.device != self.device and x.ndim for x in tensors):
            raise WaitingError(f"{function} is given tensors of two devices")
        return function(*args, **kwargs)

    def check_copy(self, function, args, kwargs):
        into = function.overloadpacket is aten.copy_
        source = args[1 if into else 0].device
        target = args[0].device if into else kwargs.get("device") or source
        blocking = not (kwargs.get("non_blocking") or (into and len(args) > 2 and args[2]))
        if target != source and (blocking or source == self.device):
            raise WaitingError(f"{function} from {source} to {target} waits")
