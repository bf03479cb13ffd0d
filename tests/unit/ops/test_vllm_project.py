"""vLLM's project without its server: what the start script, the health check and the unit say."""

import configparser
import hashlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agents.llm.embedded.weights import adapter_digest, weights_digest

OPS = Path(__file__).parents[3] / "ops" / "vllm"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 24}))
    (folder / "adapter_model.safetensors").write_bytes(b"adapter")
    return folder


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, OPS / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def served(*arguments: object) -> list[str]:
    made = script("serve.py", "--dry-run", *arguments)
    assert made.returncode == 0, made.stderr
    return shlex.split(made.stdout)


def refusal(*arguments: object) -> str:
    made = script("serve.py", "--dry-run", *arguments)
    assert made.returncode == 2
    assert made.stdout == ""
    assert made.stderr.count("\n") == 1
    return made.stderr


def after(command: list[str], flag: str) -> list[str]:
    rest = command[command.index(flag) + 1 :]
    ends = [i for i, word in enumerate(rest) if word.startswith("--")]
    return rest[: ends[0]] if ends else rest


def test_model_is_served_under_its_name_and_under_its_weights_hash(
    model: Path, tmp_path: Path
) -> None:
    names = after(served("--model", model, "--name", "small"), "--served-model-name")
    assert names == ["small", f"small@{weights_digest(model, tmp_path)[:12]}"]


def test_hash_of_several_shards_is_the_one_that_the_embedded_backend_computes(
    model: Path, tmp_path: Path
) -> None:
    (model / "another.safetensors").write_bytes(b"more")
    names = after(served("--model", model), "--served-model-name")
    assert names[1].split("@")[1] == weights_digest(model, tmp_path)[:12]
    assert names[1].split("@")[1] != hashlib.sha256(b"weights").hexdigest()[:12]


def test_answers_are_bound_by_guidance_without_whitespace_and_requests_decide_sampling(
    model: Path,
) -> None:
    command = served("--model", model)
    config = json.loads(after(command, "--structured-outputs-config")[0])
    assert config == {"backend": "guidance", "disable_any_whitespace": True}
    assert after(command, "--generation-config") == ["vllm"]
    assert after(command, "--seed") == ["0"]
    assert after(command, "--host") == ["127.0.0.1"]
    assert "--enable-prefix-caching" in command
    assert {"HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1"} <= set(command)
    assert "--enable-lora" not in command
    assert not any("RUNTIME_LORA" in word for word in command)


def test_adapter_is_served_under_its_role_and_its_hash_in_the_rank_that_holds_it(
    model: Path, adapter: Path
) -> None:
    command = served("--model", model, "--adapter", f"news={adapter}")
    sha = adapter_digest(adapter)[:12]
    assert after(command, "--lora-modules") == [f"news={adapter}", f"news@{sha}={adapter}"]
    assert after(command, "--max-lora-rank") == ["32"]
    assert after(command, "--max-loras") == ["2"]


def test_runtime_adapters_are_allowed_only_when_asked_for_and_only_on_loopback(
    model: Path,
) -> None:
    command = served("--model", model, "--runtime-adapters")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in command
    assert "--enable-lora" in command
    assert "loopback" in refusal("--model", model, "--runtime-adapters", "--host", "0.0.0.0")


def test_cpu_without_bfloat16_instructions_serves_float32(model: Path) -> None:
    spec = importlib.util.spec_from_file_location("serve", OPS / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    serve = importlib.util.module_from_spec(spec)
    sys.modules["serve"] = serve  # dataclasses look their module up
    try:
        spec.loader.exec_module(serve)
        options = serve._parser().parse_args(["--model", str(model), "--cpu"])
        plain = serve.plan(options, "flags : avx avx2").command
        able = serve.plan(options, "flags : avx2 avx512_bf16").command
    finally:
        del sys.modules["serve"]
    assert after(list(plain), "--dtype") == ["float32"]
    assert after(list(able), "--dtype") == ["bfloat16"]
    assert "--enforce-eager" in plain


def test_what_cannot_be_served_is_refused_on_one_line(
    model: Path, adapter: Path, tmp_path: Path
) -> None:
    assert "config.json" in refusal("--model", tmp_path / "none")
    assert "--port from 1 to 65535, was 0" in refusal("--model", model, "--port", "0")
    assert "--name" in refusal("--model", model, "--name", "a@b")
    assert "ROLE=FOLDER" in refusal("--model", model, "--adapter", f"barber={adapter}")
    assert "ROLE=FOLDER" in refusal("--model", model, "--adapter", "news")
    assert "adapter_config.json" in refusal("--model", model, "--adapter", f"news={tmp_path}")
    twice = ["--adapter", f"news={adapter}"] * 2
    assert "one --adapter for news" in refusal("--model", model, *twice)
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 4096}))
    assert "was 4096" in refusal("--model", model, "--adapter", f"news={adapter}")
    (adapter / "adapter_config.json").write_text("not JSON")
    assert "expected a rank" in refusal("--model", model, "--adapter", f"news={adapter}")
    (model / "model.safetensors").unlink()
    assert "safetensors" in refusal("--model", model)


def test_python_without_vllm_on_it_is_named(model: Path, tmp_path: Path) -> None:
    made = script("serve.py", "--model", model, "--python", tmp_path / "python")
    assert made.returncode == 2
    assert made.stderr.startswith("error: expected a Python with vLLM, was")
    assert made.stderr.count("\n") == 1


class Server(BaseHTTPRequestHandler):
    names = ("small", "small@0123456789ab")

    def do_GET(self) -> None:
        body = {
            "/health": {},
            "/version": {"version": "0.32.0"},
            "/v1/models": {"data": [{"id": name} for name in self.names]},
        }.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


class Nameless(Server):
    names = ("small",)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("address", [Server], indirect=True)
def test_health_of_a_server_with_hashed_names_is_fit(address: str) -> None:
    said = script("health.py", "--url", f"{address}/v1")
    assert said.returncode == 0
    assert said.stdout == "fit: vLLM 0.32.0 serves small@0123456789ab\n"


@pytest.mark.parametrize("address", [Nameless], indirect=True)
def test_health_of_a_server_without_hashed_names_is_unfit(address: str) -> None:
    said = script("health.py", "--url", address)
    assert said.returncode == 1
    assert said.stdout == "unfit: expected a model named NAME@SHA, was small\n"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense"])
def test_health_of_no_server_is_one_line_and_exit_code_one(url: str) -> None:
    said = script("health.py", "--url", url)
    assert said.returncode == 1
    assert said.stdout.startswith("unfit: ")
    assert said.stdout.count("\n") == 1
    assert said.stderr == ""


def test_unit_restarts_on_failure_and_starts_what_is_there() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(OPS / "quarterdeck-vllm.service")
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    assert service["NoNewPrivileges"] == "yes"
    assert service["EnvironmentFile"]
    for key in ("ExecStart", "ExecStartPost"):
        named = next(word for word in service[key].split() if word.endswith(".py"))
        assert (OPS.parents[1] / named).is_file()


def test_both_environments_hold_one_vllm_pinned_by_the_main_projects_date() -> None:
    main, gpu, cpu = (
        tomllib.loads((folder / "pyproject.toml").read_text())
        for folder in (OPS.parents[1], OPS, OPS / "cpu")
    )
    dates = {project["tool"]["uv"]["exclude-newer"] for project in (main, gpu, cpu)}
    assert len(dates) == 1
    versions = {
        wanted.split("==")[1]
        for project in (gpu, cpu)
        for wanted in project["project"]["dependencies"]
        if wanted.startswith("vllm")
    }
    assert len(versions) == 1


def test_environment_script_without_uv_fails_in_one_line(tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("bash", "dirname", "cat", "sed", "sha256sum"):
        found = next(p for p in map(Path, ("/bin", "/usr/bin")) if (p / tool).exists())
        (bare / tool).symlink_to(found / tool)
    made = subprocess.run(
        [OPS / "cpu" / "make_environment.sh", tmp_path / "environment"],
        env={"PATH": str(bare), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 1
    assert made.stderr == "error: expected uv on the PATH, was none\n"


def test_folder_is_no_package_that_could_be_taken_for_vllm() -> None:
    assert not (OPS / "__init__.py").exists()
    assert not (OPS / "cpu" / "__init__.py").exists()
    environment = {**os.environ, "PYTHONPATH": str(OPS.parents[1])}
    asked = "import importlib.util as u, sys; sys.exit(u.find_spec('vllm') is not None)"
    found = subprocess.run([sys.executable, "-c", asked], env=environment, cwd=OPS.parents[1])
    assert found.returncode == 0
