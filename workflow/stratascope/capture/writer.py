"""From a hook to the disk: cast, check that every number is finite, write.

On the CPU a tensor is written where it was made. On a GPU it is cast there, copied to pinned memory
on a side stream, and written by a thread, so that the hook never waits for the device.
"""

from __future__ import annotations

import math
import queue
import threading
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stratascope.errors import StratascopeError
from stratascope.store.tensors import TensorFile

# Tensors on their way from a GPU to the disk at one time; more make the model wait.
QUEUE_LENGTH = 16


class HostCopy(NamedTuple):
    """A tensor as it is stored, in host memory once ``ready`` has happened.

    ``limits`` are those of the tensor as the model made it, in its precision.
    """

    stored: torch.Tensor
    limits: torch.Tensor
    ready: torch.cuda.Event | None

    def wait(self) -> None:
        """Until the copy is there."""
        if self.ready is not None:
            self.ready.synchronize()

    def is_finite(self) -> bool:
        """Whether every stored value is a finite number."""
        return all(map(math.isfinite, self.limits.to(self.stored.dtype).tolist()))


class _Item(NamedTuple):
    names: tuple[str, ...]
    step: int
    copy: HostCopy


def numpy_bits(tensor: torch.Tensor) -> NDArray[np.generic]:
    """A CPU tensor as a NumPy array; bfloat16 as its bits, since NumPy has no such type."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def limits(tensor: torch.Tensor) -> torch.Tensor:
    """The least and the largest value; both are NaN if any value is.

    Casting keeps order, so all values are finite after a cast exactly if these two are. This is one
    pass over the tensor, some twenty times faster than asking each value.
    """
    if not tensor.numel():
        return torch.zeros(2, device=tensor.device)
    return torch.stack(torch.aminmax(tensor))


def not_finite(
    where: str,
    values: torch.Tensor,
    dtype: torch.dtype,
    made: str,
    *,
    by_cast: bool = False,
    key: str = "capture.store_dtype",
) -> StratascopeError:
    """The error for a tensor that is not finite in ``dtype``.

    ``values`` holds it in the precision the model made it in, or, where that is gone, as stored;
    then ``by_cast`` says that they were finite before the cast. ``key`` sets the stored precision.
    """
    bad = int((~torch.isfinite(values.to(dtype))).sum())
    finite = values[torch.isfinite(values)].abs().float()
    largest = f"{finite.max().item():g}" if finite.numel() else "none"
    stored = str(dtype).removeprefix("torch.")
    if by_cast or bool(torch.isfinite(values).all()):
        remedy = f"use {key}: bfloat16 or float32"
    else:
        remedy = "the model itself computes them: use model.dtype: bfloat16 or float32"
    return StratascopeError(
        f"{where}: {bad} of {values.numel()} values are not finite in {stored} "
        f"(largest finite in the model's {made}: {largest}); {remedy}"
    )


class HostCopies:
    """Casts tensors where they are and copies them to host memory; waits for no device.

    From a GPU they go to pinned memory on a side stream of that GPU. PyTorch keeps pinned memory
    that has been read for the next copy, so only as much is taken as is under way at one time.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def __call__(self, tensor: torch.Tensor) -> HostCopy:
        """Start the copy of one tensor."""
        tensor = tensor.detach()
        if tensor.device.type != "cuda":
            return HostCopy(tensor.to(self.dtype).cpu(), limits(tensor).cpu(), None)
        device = tensor.device
        cast, extremes = tensor.to(self.dtype).contiguous(), limits(tensor)
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side = self._streams[device]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            stored = torch.empty(cast.shape, dtype=cast.dtype, pin_memory=True)
            stored.copy_(cast, non_blocking=True)
            least_most = torch.empty(2, dtype=extremes.dtype, pin_memory=True)
            least_most.copy_(extremes, non_blocking=True)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(side)
        # The allocator must not hand this memory out again before the side stream has read it.
        cast.record_stream(side)
        extremes.record_stream(side)
        return HostCopy(stored, least_most, ready)


class ActivationWriter:
    """A sink for ``record`` that appends to a tensor file in ``dtype``.

    Each tensor is let go as soon as it is written. A context manager: leaving it ends its thread.
    Errors of the thread surface at the next tensor, or in ``drain``.
    """

    def __init__(self, file: TensorFile, dtype: torch.dtype, device: torch.device) -> None:
        self.step = 0
        self._file = file
        self._copies = HostCopies(dtype)
        self._error: BaseException | None = None
        self._queue: queue.Queue[_Item | None] = queue.Queue(QUEUE_LENGTH)
        self._thread: threading.Thread | None = None
        if device.type == "cuda":
            self._thread = threading.Thread(target=self._work, name="activation-writer")
            self._thread.start()

    def __enter__(self) -> ActivationWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def __call__(self, names: tuple[str, ...], tensor: torch.Tensor) -> None:
        """Take one tensor of the current step, from inside the forward pass."""
        self._raise()
        item = _Item(names, self.step, self._copies(tensor))
        if self._thread is not None:
            self._queue.put(item)
        elif not self._write(item):
            raise self._not_finite(item, tensor.detach())

    def drain(self) -> None:
        """Wait until everything taken so far is in the file; raise what went wrong."""
        self._queue.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _write(self, item: _Item) -> bool:
        """Append a tensor to the file; false, and nothing written, if it is not finite."""
        item.copy.wait()
        if not item.copy.is_finite():
            return False
        bits = numpy_bits(item.copy.stored)
        for name in item.names:
            self._file.append(name, bits)
        return True

    def _not_finite(self, item: _Item, values: torch.Tensor) -> StratascopeError:
        made = str(values.dtype).removeprefix("torch.")
        return not_finite(f"{item.names[0]} at step {item.step}", values, self._copies.dtype, made)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                # After an error the queue is only emptied, so that the model never waits for room.
                if self._error is None and not self._write(item):
                    self._error = self._not_finite(item, item.copy.stored)
            except (OSError, ValueError, RuntimeError) as error:
                self._error = error
            finally:
                self._queue.task_done()
        self._queue.task_done()
