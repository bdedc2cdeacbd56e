"""A tiny language model that has learned one answer by heart, as a Bundle: for the tests of what is around it."""

from __future__ import annotations

from pathlib import Path

QUESTION = "What does this ECG show?"


def learned_by_heart(folder: Path, answer: str, steps: int = 150) -> Path:
    """Of whatever it is asked it says `answer`."""
    import torch

    from einthoven.data.instruct.sample import Sample, Turn
    from einthoven.exchange.language import write_language
    from einthoven.exchange.manifest import manifest
    from einthoven.models.language.build import Design, build, resolved
    from einthoven.synth import simulate

    torch.manual_seed(0)
    design = Design("llama", views=({"represent": "features", "encoder": "figures", "options": {"width": 16}},))
    model = build(design, init="tiny-random", texts=[QUESTION, answer], folder=folder, seed=0)
    record = simulate("lbbb", seed=1, fs=100.0).record
    seen = [[look(record) for look in model.looks]]
    turns = (Turn("user", f"<ecg>\n{QUESTION}"), Turn("assistant", answer))
    sample = Sample("s", ("a",), "synth", "open", "report", turns, made={"by": "t", "from": "statements"})
    batch = model.collate([model.example(sample.turns, seen)])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = model.loss(batch)
        optimizer.zero_grad()
        (loss.total / loss.tokens).backward()
        optimizer.step()
    built = resolved(design, "tiny-random")
    words = manifest(
        name=folder.name, task="language", activation="identity", licence="none", architecture={"model": "llama"},
        summary="Has learned one answer by heart, for a test.",
        language={"family": "llama", "design": built.to_dict(), "limit": model.limit},
    )  # fmt: skip
    write_language(folder / "bundle", words, model, built)
    return folder / "bundle"
