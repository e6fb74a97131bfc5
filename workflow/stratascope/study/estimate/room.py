"""What a job may take, whether it fits, and what to say where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stratascope.study.estimate.cost import Estimate
from stratascope.study.estimate.remedies import ways_to_fit
from stratascope.study.estimate.work import Work


@dataclass(frozen=True)
class Amount:
    """So many bytes, and why no more: they are free, or a limit allows no more.

    ``spare`` of them are left to others.
    """

    bytes: int
    why: str = "free"
    spare: int = 0

    def __str__(self) -> str:
        return f"{shown(self.bytes)} {self.why}"

    def holds(self, size: int) -> bool:
        """Whether ``size`` bytes go into it."""
        return size + self.spare <= self.bytes


@dataclass(frozen=True)
class Room:
    """What a job may take of RAM, of one GPU, of all GPUs together, and of the disk."""

    ram: Amount
    disk: Amount
    gpu: Amount = Amount(0)
    gpus: Amount = Amount(0)

    def lacking(self, estimate: Estimate) -> list[str]:
        """What is not enough, in words; empty if everything fits. What is unknown fits."""
        said = []
        memory = estimate.memory
        if memory is not None:
            gpu = self.gpus if memory.spread else self.gpu
            over = max(0, memory.gpu - gpu.bytes)
            ram = memory.ram + (over if memory.spread else 0)
            if over and not memory.spread:
                said.append(
                    f"not enough memory: about {shown(memory.gpu)} needed on the GPU, {gpu}"
                )
            if not self.ram.holds(ram):
                said.append(f"not enough memory: about {shown(ram)} needed, {self.ram}")
        if estimate.disk is not None and not self.disk.holds(estimate.disk):
            said.append(f"not enough disk: up to {shown(estimate.disk)} needed, {self.disk}")
        return said

    def fits(self, estimate: Estimate) -> bool:
        """Whether everything that is known fits."""
        return not self.lacking(estimate)


def needs(estimate: Estimate, room: Room) -> str:
    """What a job needs and what there is, as a line."""
    memory = "an unknown amount" if estimate.memory is None else f"about {shown_memory(estimate)}"
    disk = "an unknown amount" if estimate.disk is None else f"up to {shown(estimate.disk)}"
    there = f"{room.gpu} and {room.ram}" if room.gpu.bytes else str(room.ram)
    return f"needs {memory} of memory ({there}) and {disk} of disk ({room.disk})"


def refusal(
    work: Work, estimate: Estimate, room: Room, written: Callable[[str], str] = str
) -> str | None:
    """What is not enough and how the job would fit, as a line; none if it fits.

    ``written`` makes of a setting in YAML what stands in the line.
    """
    lacking = room.lacking(estimate)
    if not lacking:
        return None
    ways = ways_to_fit(work, room.fits)
    if not ways:
        return f"{'; '.join(lacking)}; no setting makes it fit: make room, or take another machine"
    found = ", or ".join(
        " and ".join(f"`{written(setting)}`" for setting in way.settings)
        + f" -> {_left(way.estimate, lacking)}"
        for way in ways
    )
    return f"{'; '.join(lacking)}; make room, or use {found}"


def as_option(setting: str) -> str:
    """A setting in YAML as an option of `stratascope extract`: ``layers: [0, 4]`` is ``--layers 0,4``."""
    key, _, value = setting.removeprefix("model.").partition(": ")
    return f"--{key.replace('_', '-')} {value.strip('[]').replace(', ', ',')}"


def _left(estimate: Estimate, lacking: Sequence[str]) -> str:
    """What was lacking, as it is with a change."""
    said = []
    if any("memory" in text for text in lacking) and estimate.memory is not None:
        said.append(shown_memory(estimate))
    if any("disk" in text for text in lacking) and estimate.disk is not None:
        said.append(shown(estimate.disk))
    return " and ".join(said)


def shown_memory(estimate: Estimate) -> str:
    """Memory as a person reads it."""
    memory = estimate.memory
    if memory is None:
        return "unknown"
    ram = shown(memory.ram)
    return f"{shown(memory.gpu)} on the GPU and {ram}" if memory.gpu else ram


def shown(size: int) -> str:
    """Bytes as a person reads them; a GB is 10^9 bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
