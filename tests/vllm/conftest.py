"""
The real vLLM server on a CPU: its environment made once, started on a free port, stopped after.

Where QUARTERDECK_TEST_VLLM_URL names a running server, that one is asked and none is started.
"""

import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.llm.embedded.weights import model_folder
from config.settings import EmbeddedSettings

OPS = Path(__file__).parents[2] / "ops" / "vllm"
HOME = Path(os.environ.get("QUARTERDECK_HOME", Path.home() / ".cache" / "quarterdeck"))
READY_SECONDS = 400


@pytest.fixture(scope="session")
def served_folder() -> Path:
    """Return the folder of the packaged model."""
    return model_folder(EmbeddedSettings(), HOME)


@pytest.fixture(scope="session")
def random_adapters(served_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two untrained adapters, of different random weights, both far from zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(served_folder, dtype=torch.float32)
        config = LoraConfig(r=8, lora_alpha=32, target_modules=["q_proj", "v_proj"])
        with warnings.catch_warnings():  # peft 0.21 on transformers 5.23
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
            adapted = get_peft_model(model, config)
        with torch.no_grad():
            for name, weight in adapted.named_parameters():
                if "lora_" in name:
                    weight.normal_(std=0.05)
        folder = tmp_path_factory.mktemp(f"adapter-{seed}")
        adapted.save_pretrained(folder)
        folders.append(folder)
    return folders


@pytest.fixture(scope="session")
def server_url(
    served_folder: Path, random_adapters: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the address of a server that is ready, without /v1."""
    running = os.environ.get("QUARTERDECK_TEST_VLLM_URL")
    if running:
        yield running.rstrip("/").removesuffix("/v1")
        return
    made = subprocess.run(
        [OPS / "cpu" / "make_environment.sh", HOME / "vllm-cpu"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    python = made.stdout.split()[-1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, OPS / "serve.py", "--model", served_folder, "--cpu", "--port", str(port)]
    command += ["--adapter", f"news={random_adapters[0]}", "--runtime-adapters"]
    log = tmp_path_factory.mktemp("vllm") / "log"
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        health = [sys.executable, OPS / "health.py", "--url", url, "--wait", "1"]
        for _ in range(READY_SECONDS):
            assert server.poll() is None, log.read_text(errors="replace")[-2000:]
            answered = subprocess.run(health, capture_output=True, text=True)
            if answered.returncode == 0:
                break
        else:
            pytest.fail(f"{answered.stdout}{log.read_text(errors='replace')[-2000:]}")
        yield url
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
