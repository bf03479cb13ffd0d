"""
The real vLLM server, asked through our own backend: `uv run pytest -m vllm`.

QUARTERDECK_TEST_VLLM_ANSWERS sets how many answers are checked against their schemas.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agents.llm.answers import (
    FundamentalAnswer,
    NewsAnswer,
    StrategistAnswer,
    TechnicalAnswer,
    answer_schema,
    answer_tokens,
)
from agents.llm.chat import ChatMessage, ChatRequest, Completion, Failure, Role
from agents.llm.embedded.weights import adapter_digest, weights_digest
from agents.llm.schema import violation
from agents.llm.server.openai_compatible import OpenAICompatibleBackend
from config.settings import ServerSettings

pytestmark = pytest.mark.vllm

NAME = "smollm2-135m-instruct"
KINDS: list[tuple[Role, type]] = [
    ("news", NewsAnswer),
    ("technical", TechnicalAnswer),
    ("fundamental", FundamentalAnswer),
    ("strategist", StrategistAnswer),
]
STARTED_HERE = "QUARTERDECK_TEST_VLLM_URL" not in os.environ

type BackendMaker = Callable[..., OpenAICompatibleBackend]


@pytest.fixture
def backend(server_url: str) -> Iterator[BackendMaker]:
    """Return a maker of backends that are closed after the test."""
    made = []

    def make(**settings: object) -> OpenAICompatibleBackend:
        tree = {"base_url": f"{server_url}/v1", "concurrency": 16, **settings}
        served = msgspec.convert(tree, ServerSettings)
        made.append(OpenAICompatibleBackend(served, seconds_per_round=3600.0, seed=0))
        return made[-1]

    yield make
    for one in made:
        one.close()


def question(i: int, role: Role, kind: type) -> ChatRequest:
    schema = answer_schema(kind, 4)
    lines = (
        f"1. Company {i} beats estimates by {i % 17} cents",
        "2. It cuts its guidance for the year",
        f"3. Lawsuit {7 * i} filed against it",
        f"4. The price is {3 + i % 40}% below its high",
    )
    system = "You are an analyst of a trading desk. Answer with one JSON object."
    return ChatRequest(
        role=role,
        messages=(
            ChatMessage(role="system", content=system),
            ChatMessage(role="user", content="\n".join(lines)),
        ),
        schema=schema,
        max_tokens=answer_tokens(schema),
    )


def texts(backend: OpenAICompatibleBackend, role: Role) -> list[str]:
    """Return the answers to two questions that are the same for every role."""
    answers = backend.complete([question(i, role, NewsAnswer) for i in range(2)])
    completions = [a for a in answers if isinstance(a, Completion)]
    assert len(completions) == len(answers), answers
    return [a.text for a in completions]


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.loads(response.read())


def post(url: str, body: dict[str, str]) -> int:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status
    except urllib.error.HTTPError as e:
        return e.code


def check_answers(backend: OpenAICompatibleBackend, n: int) -> None:
    asked = [question(i, *KINDS[i % len(KINDS)]) for i in range(n)]
    answers = backend.complete(asked)
    failures = [a for a in answers if isinstance(a, Failure)]
    assert not failures, failures[:3]
    for request, answer in zip(asked, answers, strict=True):
        assert isinstance(answer, Completion)
        assert violation(json.loads(request.schema), answer.text) is None, answer.text
    latest = max(a.latency_ns for a in answers if isinstance(a, Completion))
    tokens = sum(a.completion_tokens for a in answers if isinstance(a, Completion))
    print(f"\n{n} of {n} answers valid; {tokens / latest * 1e9:.1f} tokens/s at 16 requests")


@pytest.mark.skipif(not STARTED_HERE, reason="the running server's folders are not known")
def test_server_names_the_model_and_the_adapter_by_the_hash_of_their_weights(
    server_url: str, served_folder: Path, random_adapters: list[Path], tmp_path: Path
) -> None:
    names = {model["id"] for model in get(f"{server_url}/v1/models")["data"]}
    weights = weights_digest(served_folder, tmp_path)[:12]
    adapter = adapter_digest(random_adapters[0])[:12]
    assert names == {NAME, f"{NAME}@{weights}", "news", f"news@{adapter}"}


def test_identity_carries_weights_engine_and_version(
    server_url: str, served_folder: Path, backend: BackendMaker, tmp_path: Path
) -> None:
    identity = backend().identity("technical")
    assert identity.model == NAME
    assert weights_digest(served_folder, tmp_path).startswith(identity.weights)
    assert len(identity.weights) >= 12
    assert identity.engine == "vllm"
    assert identity.version == get(f"{server_url}/version")["version"]
    assert identity.adapter == ""


def test_every_answer_satisfies_its_schema(backend: BackendMaker) -> None:
    check_answers(backend(), int(os.environ.get("QUARTERDECK_TEST_VLLM_ANSWERS", "170")))


@pytest.mark.slow
def test_a_thousand_answers_satisfy_their_schemas(backend: BackendMaker) -> None:
    check_answers(backend(), 1000)


@pytest.mark.skipif(not STARTED_HERE, reason="the running server may serve no adapter")
def test_adapter_answers_for_its_role_and_unlike_the_base_model(
    random_adapters: list[Path], backend: BackendMaker
) -> None:
    adapted = backend(adapters={"news": "news"})
    assert adapter_digest(random_adapters[0]).startswith(adapted.identity("news").adapter)
    assert adapted.identity("technical").adapter == ""
    assert texts(adapted, "news") != texts(adapted, "technical")


@pytest.mark.skipif(not STARTED_HERE, reason="the running server may allow no loading")
def test_adapter_can_be_loaded_and_unloaded_while_serving(
    server_url: str, random_adapters: list[Path], backend: BackendMaker
) -> None:
    name = f"strategist@{adapter_digest(random_adapters[1])[:12]}"
    load = {"lora_name": name, "lora_path": str(random_adapters[1])}
    assert post(f"{server_url}/v1/load_lora_adapter", load) == 200
    adapted = backend(adapters={"strategist": "strategist"})
    assert adapted.identity("strategist").adapter == name.split("@")[1]
    assert texts(adapted, "strategist") != texts(adapted, "technical")
    assert post(f"{server_url}/v1/unload_lora_adapter", {"lora_name": name}) == 200
    assert name not in {model["id"] for model in get(f"{server_url}/v1/models")["data"]}


def test_wrong_model_name_is_a_refusal_and_never_an_answer(backend: BackendMaker) -> None:
    (answer,) = backend(model="no-such-model").complete(
        [question(0, "technical", TechnicalAnswer)]
    )
    assert isinstance(answer, Failure)
    assert answer.kind == "refused"
