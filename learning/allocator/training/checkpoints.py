"""
Checkpoints of a training phase: one file each, checksummed, written whole or not at all.

A file is a JSON line (step, score, SHA-256 of all that follows) and then safetensors. A state is
a tree of dicts, lists, tuples and plain values with NumPy arrays and torch tensors as leaves, so
that an optimiser's `state_dict` and a generator's state go in as they are; no code is pickled
and none is run on loading. A file takes its name only after it is on the disk, so a crash or a
full disk costs the checkpoint that was being written and never an older one.

It knows no learner and no phase; `renamed` knows what states of before called things.
"""

import hashlib
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays

from config.errors import ConfigError
from config.files.whole import write_whole
from learning.allocator.training.renamed import as_now

FORMAT = 1
KEEP = 2  # the newest, and one in case that one does not survive
PATTERN = "step-*.checkpoint"
TREE = "tree"  # the tensor that holds the JSON of the state's shape

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """
    What was saved at `step`; `score` is what the best is chosen by (higher is better).

    `notes` name the newer checkpoints that could not be read and were passed over.
    """

    step: int
    score: float | None
    state: dict[str, Any]
    meta: dict[str, Any]
    notes: tuple[str, ...] = ()


def save_checkpoint(
    folder: Path,
    step: int,
    state: Mapping[str, Any],
    meta: Mapping[str, Any],
    *,
    score: float | None = None,
) -> Path:
    """
    Write a checkpoint, then delete all but the newest two and the best by `score`.

    `meta` is plain JSON: what a resume compares before it goes on (settings, digest, seed).
    Raises ConfigError, one line, where it cannot be written (a full disk): older ones are
    untouched and nothing half-written is left.
    """
    arrays: dict[str, NDArray[Any]] = {}
    tree = json.dumps([_encode(dict(state), arrays), dict(meta)])
    arrays[TREE] = np.frombuffer(tree.encode(), dtype=np.uint8)
    body = write_arrays(arrays)
    header = {"format": FORMAT, "step": step, "score": score}
    line = json.dumps(header | {"sha256": _digest(header, body)}) + "\n"
    path = folder / f"step-{step:012d}.checkpoint"
    try:
        write_whole(path, line.encode() + body)
    except ConfigError as e:
        kept = [steps for steps, _, _ in _headers(folder)] if folder.is_dir() else []
        left = f"the last good one is step {max(kept)}" if kept else "there is no older one"
        raise ConfigError(f"{e}; {left}") from e
    _prune(folder)
    return path


def load(path: Path) -> Checkpoint:
    """
    Return what a checkpoint holds; tensors on the CPU.

    Raises ConfigError, one line, where the file is missing, cut short or altered.
    """
    try:
        line, _, body = path.read_bytes().partition(b"\n")
    except OSError as e:
        raise ConfigError(f"{path}: expected a checkpoint, was: {e.strerror}") from e
    try:
        header = json.loads(line)
        checksum = header.pop("sha256")
    except (ValueError, KeyError, AttributeError, RecursionError) as e:
        raise ConfigError(f"{path}: expected a checkpoint's first line, was broken") from e
    if header.get("format") != FORMAT:
        raise ConfigError(f"{path}: expected format {FORMAT}, was {header.get('format')}")
    if _digest(header, body) != checksum:
        raise ConfigError(f"{path}: expected the checksum {checksum[:12]}, was another: it is cut")
    arrays = read_arrays(body)
    tree, meta = json.loads(arrays.pop(TREE).tobytes())
    state = as_now("checkpoint", _decode(tree, arrays))
    return Checkpoint(header["step"], header["score"], state, as_now("checkpoint meta", meta))


def latest(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint that can be read, None where there is none."""
    notes: list[str] = []
    for path in sorted(folder.glob(PATTERN), reverse=True):
        try:
            found = load(path)
        except ConfigError as e:
            logger.warning("passed over a checkpoint: %s", e)
            notes.append(f"passed over {path.name}: {e}")
            continue
        return Checkpoint(found.step, found.score, found.state, found.meta, tuple(notes))
    return None


def check_same_run(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """
    Compare the `meta` that a checkpoint in `folder` has with that of the run that is to go on.

    Raises ConfigError naming what differs.
    """
    wanted = json.loads(json.dumps(dict(wanted)))  # as a checkpoint gives it back
    other = sorted(
        key for key in found.keys() | wanted.keys() if found.get(key, ...) != wanted.get(key, ...)
    )
    if other:
        raise ConfigError(f"{folder}: expected a run of the same {', '.join(other)}, was another")


def best(folder: Path) -> Checkpoint | None:
    """Return the checkpoint with the highest score that can be read, None where there is none."""
    scored = [(score, step, path) for step, score, path in _headers(folder) if score is not None]
    for _, _, path in sorted(scored, reverse=True):
        try:
            return load(path)
        except ConfigError as e:
            logger.warning("passed over a checkpoint: %s", e)
    return None


def generator_states(**generators: np.random.Generator) -> dict[str, Any]:
    """Return the states of torch's, Python's and the named NumPy generators."""
    return {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": {name: rng.bit_generator.state for name, rng in generators.items()},
    }


def restore_generators(state: Mapping[str, Any], **generators: np.random.Generator) -> None:
    """Put torch's, Python's and the named NumPy generators where they were."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    for name, rng in generators.items():
        rng.bit_generator.state = state["numpy"][name]


def weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a network's weights as they are now: a copy that training does not change."""
    return {name: value.clone() for name, value in net.state_dict().items()}


def _headers(folder: Path) -> list[tuple[int, float | None, Path]]:
    """Return step, score and path of each checkpoint whose first line can be read."""
    found = []
    for path in sorted(folder.glob(PATTERN)):
        with path.open("rb") as file:
            line = file.readline()
        try:
            header = json.loads(line)
            found.append((int(header["step"]), header["score"], path))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # `latest` names it; a later checkpoint of the same step replaces it
    return found


def _prune(folder: Path) -> None:
    headers = _headers(folder)
    keep = {path for _, _, path in headers[-KEEP:]}
    scored = [(score, step, path) for step, score, path in headers if score is not None]
    if scored:
        keep.add(max(scored)[2])
    for _, _, path in headers:
        if path not in keep:
            path.unlink()


def _digest(header: Mapping[str, Any], body: bytes) -> str:
    h = hashlib.sha256(json.dumps(header).encode())
    h.update(body)
    return h.hexdigest()


def _encode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return the JSON of a tree, its arrays and tensors put into `arrays`."""
    if isinstance(value, torch.Tensor):
        return {"$tensor": _put(value.detach().cpu().numpy(), arrays)}
    if isinstance(value, np.ndarray):
        return {"$array": _put(value, arrays)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):  # in pairs: an optimiser's keys are numbers
        return {"$dict": [[key, _encode(item, arrays)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(item, arrays) for item in value]}
    if isinstance(value, list):
        return [_encode(item, arrays) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"expected a plain value, an array or a tensor, was {type(value).__name__}")


def _put(array: NDArray[Any], arrays: dict[str, NDArray[Any]]) -> str:
    name = str(len(arrays))
    arrays[name] = np.array(array, order="C", copy=True)
    return name


def _decode(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "$tensor":
        return torch.from_numpy(arrays[content].copy())
    if kind == "$array":
        return arrays[content].copy()
    if kind == "$tuple":
        return tuple(_decode(item, arrays) for item in content)
    return {key: _decode(item, arrays) for key, item in content}
