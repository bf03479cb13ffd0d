"""
The loaded model: turns a question into a row of tokens, and the row into an answer.

The beginning of a conversation before its last message - the system part that all questions of a
role share - is read once and kept. A message cannot end its own turn: what the model would read as
the mark of one is broken up in it. Schemas become grammars without optional whitespace, so that an
answer's length is bounded by its schema. It knows neither settings nor batches.
"""

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.llm.chat import ChatMessage, ChatRequest, Completion, Failure, Role
from agents.llm.embedded.attention import PACKED
from agents.llm.embedded.decoding import Prefix, Row, decode, read_prefix
from agents.llm.embedded.weights import quiet_transformers
from config.errors import ConfigError, one_line

CHARACTERS = 32  # a longer prompt than this for each token of the context is not tokenised
WORTH = 16  # tokens from which a shared beginning is kept
KEPT = 8  # beginnings that are kept, of at most LONGEST tokens: 46 kB each in float32
LONGEST = 1024
COMPACT: Any = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


class Engine:
    """The model of a folder, with the adapters of roles."""

    def __init__(self, folder: Path, dtype: str, adapters: dict[Role, Path]) -> None:
        with quiet_transformers():
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32 if dtype == "int8" else getattr(torch, dtype),
                local_files_only=True,
                attn_implementation=PACKED,
            )
        self.tokenizer = tokenizer
        self.model = model.eval()
        if dtype == "int8":
            if adapters:
                raise ConfigError(f"expected no adapters on int8 weights, was {sorted(adapters)}")
            _quantize(self.model)
        elif self.model.dtype == torch.float32:
            _lay_out(self.model)
        config = self.model.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise ConfigError(f"expected layers of full attention only, was {sorted(kinds)}")
        self.context: int = config.max_position_embeddings
        self._names = {role: f"of_{role}" for role in adapters}
        self._adapted = _with_adapters(self.model, {self._names[r]: adapters[r] for r in adapters})
        self._adapter = ""
        self._stops = frozenset([self.tokenizer.eos_token_id])
        self._guide = from_tokenizer(self.tokenizer, n_vocab=config.vocab_size)
        marks = map(str, self.tokenizer.added_tokens_decoder.values())
        self._marks = re.compile("|".join(re.escape(mark) for mark in marks))
        self._grammars: dict[str, LLMatcher | str] = {}
        self._openings: dict[tuple[ChatMessage, ...], list[int]] = {}
        self._prefixes: OrderedDict[tuple[str, tuple[int, ...]], Prefix] = OrderedDict()

    def use(self, role: Role) -> None:
        """Switch to the adapter of a role, or to none."""
        self._adapter = self._names.get(role, "")
        if self._adapted is not None and self._adapter:
            self._adapted.base_model.enable_adapter_layers()
            self._adapted.set_adapter(self._adapter, inference_mode=True)
        elif self._adapted is not None:
            self._adapted.base_model.disable_adapter_layers()

    def row(self, request: ChatRequest) -> Row | Failure:
        """Return the row of a question, or why it is not asked."""
        size, most = sum(len(m.content) for m in request.messages), self.context * CHARACTERS
        if size > most:
            return _refused(f"a prompt of at most {most} characters, was {size}")
        matcher = self._matcher(request.schema) if request.schema else None
        if isinstance(matcher, str):
            return _refused(f"a schema that binds tokens, was another: {matcher}")
        tokens = self._tokens(request.messages)
        if len(tokens) + request.max_tokens > self.context:
            return _refused(
                f"at most {self.context} tokens of prompt and answer, was {len(tokens)} and "
                f"{request.max_tokens}"
            )
        opening = self._opening(request.messages[:-1])
        shared = len(opening) if tokens[: len(opening)] == opening else 0
        return Row(
            prompt=tokens,
            limit=request.max_tokens,
            stops=self._stops,
            matcher=matcher,
            temperature=request.temperature,
            seed=request.seed,
            shared=shared,
        )

    def passes(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Bring rows of the adapter in use to their ends, pass by pass."""
        for row in rows:
            if row.shared:
                row.prefix = self._prefix(tuple(row.prompt[: row.shared]))
        return decode(self.model, rows)

    def text(self, row: Row) -> str:
        """Return what a row says so far."""
        return str(self.tokenizer.decode(row.answer, skip_special_tokens=True))

    def answer(self, row: Row, latency_ns: int) -> Completion | Failure:
        """Return an ended row's answer."""
        cost = {"latency_ns": latency_ns, "tokens": len(row.prompt) + len(row.answer)}
        if row.broken:
            return Failure(kind="invalid", detail=" ".join(row.broken.split())[:200], **cost)
        if row.cut:
            detail = f"expected an end within {row.limit} tokens, was longer"
            return Failure(kind="truncated", detail=detail, **cost)
        return Completion(
            text=self.text(row),
            prompt_tokens=len(row.prompt),
            completion_tokens=len(row.answer),
            latency_ns=latency_ns,
            forward_passes=row.passes,
        )

    def _tokens(self, messages: Sequence[ChatMessage]) -> list[int]:
        turns = [{"role": m.role, "content": self._unmarked(m.content)} for m in messages]
        text = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _unmarked(self, text: str) -> str:
        """Break up what would be read as the mark of a turn, until none is left."""
        while self._marks.search(text):
            text = self._marks.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        return text

    def _opening(self, before: tuple[ChatMessage, ...]) -> list[int]:
        """Return the tokens that every conversation with these first messages begins with."""
        if before not in self._openings:
            one, other = (
                self._tokens([*before, ChatMessage(role="user", content=text)])
                for text in ("0", "a")
            )
            same = next(k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            if len(self._openings) >= 8 * KEPT:
                self._openings.clear()
            self._openings[before] = one[:same] if before and WORTH <= same <= LONGEST else []
        return self._openings[before]

    def _prefix(self, tokens: tuple[int, ...]) -> Prefix:
        key = (self._adapter, tokens)
        if key not in self._prefixes:
            self._prefixes[key] = read_prefix(self.model, tokens)
            if len(self._prefixes) > KEPT:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        return self._prefixes[key]

    def _matcher(self, schema: str) -> LLMatcher | str:
        """Return a fresh matcher of a schema, or why there is none."""
        if schema not in self._grammars:
            try:
                grammar = LLMatcher.grammar_from_json_schema(schema, overrides=COMPACT)
            except ValueError as e:
                return one_line(e)[:200]
            wrong = LLMatcher.validate_grammar(grammar, self._guide)
            if len(self._grammars) >= 256:
                self._grammars.clear()
            self._grammars[schema] = wrong[:200] or LLMatcher(self._guide, grammar, log_level=0)
        made = self._grammars[schema]
        return made if isinstance(made, str) else made.deep_copy()


def _refused(expected: str) -> Failure:
    return Failure(kind="refused", detail=f"expected {expected}")


def _lay_out(model: Any) -> None:
    """
    Lay a model's weights out as the CPU's product with few rows reads them: a tenth faster.

    The output's weights stay: they may be the embedding's, of which single rows are read.
    """
    output = model.get_output_embeddings()
    for part in model.modules():
        if isinstance(part, torch.nn.Linear) and part is not output:
            part.weight.data = part.weight.data.t().contiguous().t()


def _quantize(model: Any) -> None:
    """
    Put every product's weights into 8 bits, a scale an output, and activations as they come.

    A pass of few tokens waits for its weights: a quarter of the bytes takes a third of the time.
    A batch shares its activations' scale, so that a row's answer depends on its neighbours.
    """
    quantized: Any = torch.ao.nn.quantized.dynamic.Linear
    with warnings.catch_warnings():
        # torch 2.15: to be replaced when the quantized tensors that this makes are removed,
        # https://github.com/pytorch/pytorch/issues/184982
        warnings.simplefilter("ignore", UserWarning)
        for part in list(model.modules()):
            for name, inner in part.named_children():
                if isinstance(inner, torch.nn.Linear):
                    chosen: Any = inner
                    chosen.qconfig = torch.ao.quantization.per_channel_dynamic_qconfig
                    setattr(part, name, quantized.from_float(chosen))


def _with_adapters(model: Any, adapters: dict[str, Path]) -> Any:
    """Put PEFT adapters into a model, all switched off; None where there are none."""
    if not adapters:
        return None
    from peft import PeftModel

    (first, folder), *rest = adapters.items()
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by a deprecated name
        warnings.simplefilter("ignore", FutureWarning)
        adapted: Any = PeftModel.from_pretrained(model, str(folder), adapter_name=first)
        for name, folder in rest:
            adapted.load_adapter(str(folder), adapter_name=name)
    adapted.eval()
    adapted.base_model.disable_adapter_layers()
    return adapted
