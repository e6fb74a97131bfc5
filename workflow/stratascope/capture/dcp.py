"""Weights out of a ``torch.distributed.checkpoint`` folder, as training with FSDP leaves them.

Such a folder holds ``.metadata``, a table of contents, and ``__<rank>_<n>.distcp`` files with pieces
of the tensors. It is read here by one process, whatever the number of those that wrote it.
"""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_state

from stratascope.errors import StratascopeError
from stratascope.store.identity import DCP_METADATA

# What transformers would load itself.
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# Put into names by torch.compile and by activation checkpointing around the modules they wrap.
WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")
# All that a table of contents is made of: it is a pickle, which else could run anything.
SAFE = {
    "collections": {"OrderedDict"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "_MEM_FORMAT_ENCODING",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
    },
    "torch.serialization": {"_get_layout"},
}


def find_dcp(folder: Path) -> Path | None:
    """The distributed checkpoint of a model folder that has no weights of its own; else none.

    It is the folder itself, or the one folder in it with a ``.metadata`` file.

    Raises:
        StratascopeError: several such folders.
    """
    if any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        return None
    if (folder / DCP_METADATA).is_file():
        return folder
    found = sorted(path.parent for path in folder.glob(f"*/{DCP_METADATA}"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise StratascopeError(
            f"{folder}: holds several distributed checkpoints ({names}); put config.json and the "
            "tokenizer into the one with the weights, and name that as the model's id"
        )
    return found[0] if found else None


def read_dcp(folder: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The model's tensors in a distributed checkpoint, on the CPU, in the types they were saved in.

    ``names`` are those of the model's own state dict. Whatever the checkpoint puts in front of them
    (``model.``, ``state_dict.``, ``_orig_mod.``) is found from its table of contents and taken away;
    what else it holds, such as an optimizer's state, is not read.

    Raises:
        StratascopeError: a folder that is damaged or holds none of these names.
    """
    reader = _Reader(folder)
    try:
        metadata = reader.read_metadata()
    except (OSError, EOFError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise StratascopeError(f"{folder / DCP_METADATA}: cannot be read: {error}") from error
    saved = {
        key: entry
        for key, entry in metadata.state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    keys = _model_keys(saved, set(names))
    if not keys:
        some = ", ".join(sorted(metadata.state_dict_metadata)[:3]) or "nothing"
        raise StratascopeError(
            f"{folder}: holds none of the model's weights, but {some}, ...; is config.json the right one?"
        )
    wanted = {
        key: torch.empty(saved[key].size, dtype=saved[key].properties.dtype)
        for key in keys.values()
    }
    _load(wanted, reader, folder)
    return {name: wanted[key] for name, key in keys.items()}


def _model_keys(saved: Iterable[str], names: set[str]) -> dict[str, str]:
    """The checkpoint's key for each of the model's weights that it holds."""
    plain = {_unwrapped(key): key for key in saved}
    prefixes = Counter(
        key[: len(key) - len(end)] for key in plain for end in _ends(key) if end in names
    )
    if not prefixes:
        return {}
    # Most names fit after it; of equals (say, a moving average's) `model.` or the shortest.
    prefix = min(prefixes, key=lambda p: (-prefixes[p], p != "model.", len(p), p))
    # The first parts of names tell the model's own weights from an optimizer's beside them. Names
    # below may be older than the model's code, which then renames them.
    parts = {name.split(".", 1)[0] for name in names}
    found = {key.removeprefix(prefix): key for key in plain if key.startswith(prefix)}
    return {name: plain[key] for name, key in found.items() if name.split(".", 1)[0] in parts}


def _unwrapped(key: str) -> str:
    for wrapper in WRAPPERS:
        key = key.replace(wrapper, "")
    return key


def _ends(key: str) -> list[str]:
    """The key, and what is left of it after each dot."""
    return [key, *(key[i + 1 :] for i, letter in enumerate(key) if letter == ".")]


def _load(tensors: dict[str, torch.Tensor], reader: FileSystemReader, folder: Path) -> None:
    """Fill the tensors in place."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process reads alone is what is meant
            load_state(tensors, storage_reader=reader, no_dist=True)
    except CheckpointException as error:  # no Exception, and its text is a traceback
        first = next(iter(error.failures.values()))[0]
        reason = " ".join(str(first).split())[:300] or type(first).__name__
        raise StratascopeError(
            f"{folder}: cannot read the distributed checkpoint: {reason}; are its files complete "
            "and undamaged?"
        ) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in SAFE.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and (
            name == "Size" or isinstance(getattr(torch, name, 0), torch.dtype)
        ):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which no checkpoint needs")


class _Reader(FileSystemReader):
    """Reads the table of contents without running what a manipulated one asks for."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        with (Path(self.path) / DCP_METADATA).open("rb") as stream:
            metadata = _Unpickler(stream).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError("holds no table of contents")
        metadata.storage_meta = getattr(metadata, "storage_meta", None) or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata
