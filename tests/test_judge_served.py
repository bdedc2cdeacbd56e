"""`einthoven judge` against a real language model behind a real OpenAI-compatible server: `transformers serve`, on loopback.

The model is a Llama of 75,000 weights, taught here in seconds that the answer to anything is one judgement; what is shown is
that our client, its prompts and a server that nobody here wrote understand each other.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from einthoven.cli import app

pytest.importorskip("openai", reason="transformers serve needs openai")
GIVEN = {"diagnosis": 7, "waveform": 6, "rhythm": 8}


def taught(folder: Path) -> Path:
    """A tiny Llama that answers GIVEN to everything, with its tokenizer and template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = json.dumps(GIVEN)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    own = Tokenizer(models.BPE())
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    specials = ["<s>", "</s>", "<user>", "<assistant>"]
    own.train_from_iterator(
        [words] * 9, trainers.BpeTrainer(vocab_size=320, special_tokens=specials, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    tokenizer.chat_template = (
        "<s>{% for m in messages %}<user>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    answer = torch.tensor(tokenizer(words + "</s>", add_special_tokens=False).input_ids)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=8192, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(200):
        asked = torch.randint(4, len(tokenizer), (4, int(torch.randint(10, 120, ()))))
        ids = torch.cat([asked, torch.full((4, 1), 3), answer.repeat(4, 1)], 1)
        labels = ids.clone()
        labels[:, : asked.shape[1] + 1] = -100
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address, model) of a server that runs."""
    folder = taught(tmp_path_factory.mktemp("judge") / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        str(folder),
        "--device",
        "cpu",
        "--host",
        "127.0.0.1",
    ]
    where = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder.parent)}
    log = folder.parent / "log.txt"
    with log.open("w") as told:
        running = subprocess.Popen([*command, "--port", str(port)], stdout=told, stderr=told, cwd=folder.parent, env=where)
    try:
        begun = time.monotonic()
        while True:
            assert running.poll() is None and time.monotonic() - begun < 240, log.read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        running.kill()
        running.wait()


def test_a_model_that_is_served_judges(served: tuple[str, str], tmp_path: Path) -> None:
    pairs = [
        {"id": f"r{k}", "right": "Sinus rhythm. Left bundle branch block.", "said": said}
        for k, said in enumerate(("Sinus rhythm.", "Atrial fibrillation, no LBBB.", "Sinus rhythm. LBBB."))
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    url, model = served
    command = ["judge", str(answers), "-o", str(tmp_path / "out"), "--url", url, "-m", model, "--criteria", "pulse", "--json"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    means = {name: figure["mean"] for name, figure in told["figures"].items()}
    assert means == pytest.approx({"diagnosis": 70, "waveform": 60, "rhythm": 80, "report score": 70})
    lines = [json.loads(line) for line in (tmp_path / "out" / "pulse.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["r0", "r1", "r2"]
    # Asked for another form, it gives this one all the same: counted as failed, never repaired.
    refused = CliRunner().invoke(app, [*command[:4], *command[4:8], "--criteria", "llama", "--json"])
    assert refused.exit_code == 1 and json.loads(refused.stdout)["judged"] == 0
