"""A run that is cut off goes on and ends as if nothing had been; two processes take the steps that one would take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate import Accelerator  # noqa: E402
from torch import nn  # noqa: E402

from einthoven import data  # noqa: E402
from einthoven.exchange.bundle import Bundle  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.train import checkpoint  # noqa: E402
from einthoven.train.finetune import finetune  # noqa: E402
from einthoven.train.loop import Examples, fit  # noqa: E402
from einthoven.train.losses import Objective  # noqa: E402
from einthoven.train.recipe import Recipe  # noqa: E402

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def toy() -> Examples:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3, 20)).astype(np.float32)
    y = (x[:, :2].mean(2) > 0).astype(np.float32)
    y[::7, 1] = np.nan
    return Examples(x, y)


def net(*, norm: bool = True) -> nn.Module:
    torch.manual_seed(0)
    middle = (nn.BatchNorm1d(8), nn.Dropout(0.3)) if norm else ()
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 8), *middle, nn.GELU(), nn.Linear(8, 2))


def run(model: nn.Module, folder: Path, recipe: Recipe, **more: object) -> checkpoint.Progress:
    folder.mkdir(exist_ok=True)
    objective = Objective("multilabel", np.ones(2, np.float32))
    rows = np.arange(40)
    accelerator = Accelerator(cpu=True)
    return fit(model, toy(), rows[:28], rows[28:], objective, recipe, accelerator, folder, rate=0.01, **more)  # type: ignore[arg-type]


class Cut(Exception):
    pass


@pytest.mark.parametrize("every", [1, 2])
def test_cut_at_any_step_it_ends_with_the_same_weights(every: int, tmp_path: Path) -> None:
    # Dropout, mixup, shifts, lost leads and noise: all that is drawn must be drawn again as it was.
    recipe = Recipe(
        batch=8, epochs=3, schedule="onecycle", mixup=0.3, crop=0.2, lead_dropout=0.2, noise=0.1, checkpoint_every=every
    )
    whole = net()
    wanted = run(whole, tmp_path / "whole", recipe)
    for cut in range(1, 12, 2):
        count = 0

        def tick(*_: object, cut: int = cut) -> None:
            nonlocal count
            count += 1
            if count == cut:
                raise Cut

        folder = tmp_path / f"cut{cut}"
        with pytest.raises(Cut):
            run(net(), folder, recipe, tick=tick)
        again = net()
        done = run(again, folder, recipe)
        assert done.best == wanted.best and len(done.history) == 3
        for name, tensor in again.state_dict().items():
            assert torch.equal(tensor, whole.state_dict()[name]), (cut, name)
        for mine, theirs in zip(done.history, wanted.history):
            assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-12)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    recipe = Recipe(batch=8, epochs=2)
    first = net()
    run(first, tmp_path / "a", recipe)
    stamp = (tmp_path / "a" / "state.pt").stat().st_mtime_ns
    second = net()
    run(second, tmp_path / "a", recipe)
    assert (tmp_path / "a" / "state.pt").stat().st_mtime_ns == stamp
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path / "state.pt", {"x": torch.ones(3)})

    def broken(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(EcgError, match="No space left"):
        checkpoint.write(tmp_path / "state.pt", {"x": torch.zeros(3)})
    assert torch.equal(checkpoint.read(tmp_path / "state.pt")["x"], torch.ones(3))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'run'}",)

    (tmp_path / "state.pt").write_bytes(pickle.dumps({"net": Evil()}))
    torch.save({"net": Evil()}, tmp_path / "zip.pt")
    for name in ("state.pt", "zip.pt"):
        with pytest.raises(EcgError, match="no checkpoint"):
            checkpoint.read(tmp_path / name)
    assert not (tmp_path / "run").exists()


def test_killed_and_started_again_by_the_same_command(tmp_path: Path) -> None:
    from test_train_finetune import planted

    data.load(planted(tmp_path / "ecgs", 32), folder=tmp_path / "index")
    recipe = Recipe(
        data=str(tmp_path / "index"), options={"width": 4}, device="cpu", batch=4, epochs=5, checkpoint_every=2, mixup=0.2,
        crop=0.1, learning_rate=0.01, jobs=1,
    )  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(recipe.text(), encoding="utf-8")
    words = [sys.executable, "-m", "einthoven", "finetune", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "cut")]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(words, cwd=ROOT, env=os.environ | ALONE, stderr=subprocess.PIPE)

    run, state = start(), tmp_path / "cut" / "work" / "state.pt"
    while not state.exists() and run.poll() is None:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL and not (tmp_path / "cut" / "bundle").exists()
    stood = checkpoint.read(state)["progress"]
    assert not stood["finished"] and (stood["epoch"], stood["step"]) > (0, 0)

    again = start()
    finetune(recipe, tmp_path / "whole", quiet=True)  # undisturbed
    told = again.communicate()[1].decode()
    assert again.returncode == 0 and "going on from the last checkpoint" in told, told
    states = [Bundle.open(tmp_path / name / "bundle").read("weights.safetensors") for name in ("cut", "whole")]
    assert states[0] == states[1]
    tables = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("cut", "whole")]
    assert tables[0] == tables[1]


TWO = """
import sys
from pathlib import Path
import torch
from test_train_resume import net, run
from einthoven.train.recipe import Recipe
model = net(norm=False)
done = run(model, Path(sys.argv[1]), Recipe(batch=8, epochs=3, mixup=0.2, noise=0.1, checkpoint_every=2))
import torch.distributed as dist
assert dist.is_initialized() and dist.get_world_size() == 2 and dist.get_backend() == "gloo"
if dist.get_rank() == 0:
    torch.save({"net": model.state_dict(), "loss": [r["train_loss"] for r in done.history], "best": done.best}, sys.argv[2])
dist.destroy_process_group()
"""


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    alone = net(norm=False)
    one = run(alone, tmp_path / "one", Recipe(batch=8, epochs=3, mixup=0.2, noise=0.1, checkpoint_every=2))
    script = tmp_path / "two.py"
    script.write_text(TWO, encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
    # Without --multi_gpu accelerate would start one process; it asks for no GPU, and Accelerator(cpu=True) takes gloo.
    launch += ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    env = os.environ | ALONE | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    (tmp_path / "two").mkdir()
    done = subprocess.run(
        [*launch, str(script), str(tmp_path / "two"), str(tmp_path / "out.pt")],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = checkpoint.read(tmp_path / "out.pt")
    for name, tensor in alone.state_dict().items():
        assert torch.allclose(made["net"][name], tensor, atol=1e-5), name
    assert made["loss"] == pytest.approx([row["train_loss"] for row in one.history], rel=1e-5)
    assert made["best"] == pytest.approx(one.best, rel=1e-5)
