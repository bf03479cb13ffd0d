"""
A trained policy on disk: a folder of `policy.safetensors` and `policy.json`.

The JSON is the policy's card: what it sees, what its numbers mean, what it was trained on, and the
SHA-256 of every other file of the folder. A folder is written whole or not at all, and what does
not fit - a broken file, another version, other inputs - is refused when it is read, before a
decision is asked of it. It knows neither trainers nor cases; torch is imported when a network is
written or read, not before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    OBSERVATION_VERSION,
    Normaliser,
)
from agents.messages import TrainingRecord
from config.errors import ConfigError, one_line
from config.files.json_text import decode_json
from config.files.whole import whole_folder
from config.settings import Count

if TYPE_CHECKING:
    from agents.allocator.networks import BottomNet, TopNet

WEIGHTS_FILE = "policy.safetensors"
CARD_FILE = "policy.json"
GRAPH_FILE = "graph.safetensors"  # the sector graph beside a top policy with embeddings
ANY_GROUP = "*"
INPUTS = (*INSTRUMENT_INPUTS, *MARKET_INPUTS)


class PolicyCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What is known of a policy beside its weights.

    `groups` are those of the book that the policy was trained on, sorted; a bottom policy's
    `group` is the one of them that it places, or "*" for any, a top policy's is "".
    `action_transform` says how an action mean is bounded to [-1, 1]; with `holds` a bottom's
    network says how far to move from what is held. `gross` is what budgets sum to at most.
    `regimes`: whether the regime's logits were trained.
    `embeddings`: whether the top policy is given the sector graph's. `files` are the SHA-256 of
    the other files, by name; `save_policy` fills them in.
    Raises ValueError where groups are not sorted, or `group` is not of them.
    """

    format: Literal[1] = 1
    kind: Literal["top", "bottom"]
    book: str
    name: str
    groups: tuple[str, ...]
    group: str = ""
    observation_version: int = OBSERVATION_VERSION
    inputs: tuple[str, ...] = INPUTS
    hidden: tuple[Count, ...]
    normaliser: Normaliser
    action_transform: Literal["clip"] = "clip"
    holds: bool = False
    gross: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.0
    regimes: bool = False
    embeddings: bool = False
    trained: TrainingRecord
    files: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.groups != tuple(sorted(set(self.groups))) or not self.groups:
            raise ValueError(f"expected groups, sorted, was {', '.join(self.groups) or 'none'}")
        known = ("",) if self.kind == "top" else (ANY_GROUP, *self.groups)
        if self.group not in known:
            raise ValueError(f"expected a group of {', '.join(known)!r}, was {self.group!r}")

    @property
    def slot(self) -> str:
        """The place that it takes, and its folder's name: top, bottom or bottom-<group>."""
        return self.kind if self.group in ("", ANY_GROUP) else f"{self.kind}-{self.group}"

    @property
    def digest(self) -> str:
        """The SHA-256 of the card, and by `files` of the weights."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def save_policy(
    folder: Path, net: TopNet | BottomNet, card: PolicyCard, graph: Path | None = None
) -> PolicyCard:
    """
    Write a policy, in the place of one that is there, and return its card with `files`.

    `graph` is the sector graph's file, copied beside a policy with embeddings.
    Raises ConfigError where the folder cannot be written (what was there stays), ValueError where
    the network is not the card's.
    """
    from safetensors.torch import save

    fitting = _network(card).state_dict()
    tensors = {k: v.detach().cpu().float().contiguous() for k, v in net.state_dict().items()}
    shapes = {k: tuple(v.shape) for k, v in tensors.items()}
    if getattr(net, "holds", False) != card.holds:
        raise ValueError(f"expected a network that holds as its card says, was {card.holds}")
    if shapes != {k: tuple(v.shape) for k, v in fitting.items()}:
        raise ValueError(f"expected the network of a {card.kind} card, was {shapes}")
    if card.embeddings != (graph is not None):
        raise ValueError("expected a graph file with embeddings, and none without")
    contents = {WEIGHTS_FILE: save(tensors)}
    if graph is not None:
        contents[GRAPH_FILE] = graph.read_bytes()
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    card = msgspec.structs.replace(card, files=files)
    contents[CARD_FILE] = msgspec.json.format(msgspec.json.encode(card, order="deterministic"))
    with whole_folder(folder) as fresh:
        for name, content in contents.items():
            (fresh / name).write_bytes(content)
    return card


def find_policies(folder: Path) -> list[Path]:
    """Return the policies' places in a folder. Raises ConfigError where it holds none."""
    found = folder.iterdir() if folder.is_dir() else ()
    places = sorted(p for p in found if p.name == "top" or p.name.split("-")[0] == "bottom")
    if not places:
        raise ConfigError(f"expected policies (top, bottom, bottom-<group>) in {folder}, was none")
    return places


def load_policy(folder: Path) -> tuple[TopNet | BottomNet, PolicyCard]:
    """
    Return a policy's network, ready to be asked, and its card.

    Raises ConfigError, one line, where the folder holds no policy, another version's, or files
    that are not those that were written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    card = read_card(folder)
    try:
        net = _network(card)
        net.load_state_dict(load((folder / WEIGHTS_FILE).read_bytes()))
    except (SafetensorError, RuntimeError) as e:
        raise ConfigError(
            f"expected the weights of {card.name!r} in {folder / WEIGHTS_FILE}, was {one_line(e)}"
        ) from e
    if not all(torch.isfinite(weight).all() for weight in net.state_dict().values()):
        raise ConfigError(f"expected finite weights of {card.name!r} in {folder}, was not")
    return net.eval().requires_grad_(False), card


def read_card(folder: Path) -> PolicyCard:
    """Return a policy's card, its folder's files checked. Raises ConfigError as `load_policy`."""
    path = folder / CARD_FILE
    try:
        text = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"expected a policy at {path}, was: {e.strerror}") from e
    what = f"a policy's card in {path}"
    version = decode_json(text, _Version, what).observation_version
    if version != OBSERVATION_VERSION:
        raise ConfigError(
            f"{path}: expected observation version {OBSERVATION_VERSION}, was {version}"
        )
    card = decode_json(text, PolicyCard, what)
    if card.inputs != INPUTS:
        other = sorted(set(card.inputs) ^ set(INPUTS)) or ["another order"]
        raise ConfigError(f"{path}: expected this version's inputs, was {', '.join(other)}")
    wanted = {WEIGHTS_FILE, GRAPH_FILE} if card.embeddings else {WEIGHTS_FILE}
    if card.files.keys() != wanted:
        raise ConfigError(
            f"{path}: expected the SHA-256 of {', '.join(sorted(wanted))}, "
            f"was of {', '.join(sorted(card.files)) or 'none'}"
        )
    for name, expected in sorted(card.files.items()):
        _verify(folder / name, expected)
    return card


class _Version(msgspec.Struct, frozen=True):
    """The one field that is read before all others."""

    observation_version: int


def _verify(path: Path, expected: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        raise ConfigError(f"expected {path}, was: {e.strerror}") from e
    if found != expected:
        raise ConfigError(f"{path}: expected SHA-256 {expected[:12]}, was {found[:12]}")


def _network(card: PolicyCard) -> TopNet | BottomNet:
    from agents.allocator.networks import EMBEDDING, BottomNet, TopNet

    rows, market = len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)
    if card.kind == "bottom":
        return BottomNet(rows, market, card.hidden, holds=card.holds)
    return TopNet(rows + EMBEDDING * card.embeddings, market, card.hidden)
