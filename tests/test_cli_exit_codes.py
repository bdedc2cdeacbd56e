"""Every command with wrong input: 1 where an input cannot be used, 2 where the command asks for what is not on offer.

One line on stderr that names the input or the word, and never a traceback.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.io import write
from einthoven.synth import simulate

RUN = CliRunner()
ROOT = Path(__file__).parents[1]
# What a newcomer gives in place of an ECG, a data set, a Bundle, a recipe: none of it is any.
FILES = ("missing.xml", "folder", "empty.bin", "text.txt", "photo.jpg")
INPUTS = (  # @ is where the input stands
    "info @", "convert @ out.csv", "delineate @", "render @ -o out.png", "explain @", "predict @", "data index @ -o out",
    "data show @", "data instruct @ -o out.jsonl",
    "judge @ -o out --url http://localhost:1/v1", "images @ -o out",
    "evaluate --data @", "finetune --data @ -o out", "models import @",
    "models convert @ -o out.safetensors", "chat @ -m einthoven-12 -q why",
)  # fmt: skip
ON_PAPER = ("measure @", "interpret @", "demo @ --out out", "digitize @ -o out.csv")  # these take a photo
LISTS = ("scale info @ -o out", "models list --store @")  # any file may be a listing, any folder a store
RECIPES = ("pretrain @", "finetune @", "plan @")  # a recipe is a command line in a file: wrong use
MODELS = (  # a name of which there is no file is a misspelt one: wrong use
    "predict ecg.npz -m @", "explain ecg.npz -m @", "interpret ecg.npz -m @",
    "interpret ecg.npz --language @", "models show @", "models verify @",
    "models export @ -o out.onnx", "models push @ store", "chat ecg.npz -m @ -q why", "scale predict listing.txt -o out -m @",
    "evaluate --data set --labels labels.csv --model @",
)  # fmt: skip
OPTIONS = (
    "nonsense", "info --nonsense ecg.npz", "info ecg.npz --fs 0", "info ecg.npz --fs x", "measure ecg.npz --unit furlong",
    "convert ecg.npz out.foo", "convert ecg.npz out.csv --format foo", "render ecg.npz -o out.foo",
    "render ecg.npz --layout 9x9", "render ecg.npz --palette foo", "render ecg.npz --distort foo", "render ecg.npz --dpi 0",
    "render ecg.npz --gain -1", "interpret ecg.npz --format foo", "interpret ecg.npz -o out.foo",
    "interpret ecg.npz --format html", "explain ecg.npz --label foo", "explain ecg.npz --method foo",
    "explain ecg.npz -o out.foo", "digitize photo.jpg -o out.foo", "digitize photo.jpg -o out.csv --layout foo",
    "digitize photo.jpg -o out.csv --corners 1,2", "data index set -o out --dataset foo",
    "data index set --labels labels.csv -o folder",
    "data get foo -o out", "data instruct -o out.jsonl", "data instruct set -o out.foo",
    "data instruct set -o out.jsonl --kinds foo", "data instruct set -o out.jsonl --model foo",
    "data instruct set -o out --bench", "judge answers.jsonl -o out --url foo", "judge answers.jsonl -o out",
    "judge answers.jsonl -o out --offline --criteria foo", "evaluate", "evaluate --data set --labels labels.csv --level foo",
    "evaluate --data set --labels labels.csv --backend foo", "finetune", "finetune --set foo", "finetune --set foo=1",
    "finetune --data set --method foo",
    "finetune --data set --labels labels.csv --model foo -o out", "finetune --data set --labels labels.csv --names Foo -o out",
    "finetune --data set --labels labels.csv --level foo -o out", "images folder -o out --preset foo",
    "images folder -o out --size foo", "scale foo listing.txt -o out", "scale info listing.txt -o out --backend foo",
    "models pull ftp://x foo", "models nonsense", "reproduce nonsense", "reproduce exchangeai --size foo",
    "reproduce ecgfm-peft --size foo", "reproduce heartbeit --size foo", "data distance synth --form foo",
    "reproduce exchangeai --smoke --weights foo", "pretrain recipe.yaml",
    "pretrain recipe.yaml --objective cardx", "serve --host 0.0.0.0", "token x --scope foo", "move-catalogue mysql://x",
    "finetune language.yaml", "finetune language.yaml --data set --level foo", "finetune language.yaml --data set --set foo=1",
    "finetune --data set --labels labels.csv --init tiny-random", "plan recipe.yaml", "plan language.yaml --gpu foo",
    "reproduce llama-ecg --size foo", "reproduce ecg-bench --size foo", "pretrain recipe.yaml --objective merl",
    "pretrain recipe.yaml --objective st-mem",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import cv2

    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "folder").mkdir()
    (folder / "set").mkdir()
    (folder / "empty.bin").touch()
    (folder / "text.txt").write_text("no ECG is in here\n")
    assert cv2.imwrite(str(folder / "photo.jpg"), np.full((40, 60, 3), 200, np.uint8))
    record = simulate(seed=1).record
    for name in ("ecg.npz", "set/1.npz", "set/2.npz"):
        write(record, folder / name)
    (folder / "labels.csv").write_text("file_name,label\n1.npz,a\n2.npz,b\n")
    (folder / "listing.txt").write_text("ecg.npz\n")
    (folder / "recipe.yaml").write_text("foo: 1\n")
    (folder / "language.yaml").write_text("objective: language\nfamily: llama\n")
    return folder


def ends(words: str, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command's stderr; it must have ended with this code, and not with a traceback."""
    monkeypatch.chdir(folder)
    done = RUN.invoke(app, words.split())
    assert isinstance(done.exception, SystemExit), (words, done.exception)
    assert done.exit_code == code and "Traceback" not in done.output and "Errno" not in done.stderr, (words, done.output)
    return done.stderr


CASES = [
    *((line, file, 1) for line in INPUTS for file in FILES),
    *((line, file, 1) for line in ON_PAPER for file in FILES[:-1]),
    *((line, FILES[0], 1) for line in LISTS),
    *((line, file, 2) for line in RECIPES for file in FILES),
    *((line, file, 2 if file == "missing.xml" else 1) for line in MODELS for file in FILES),
]


@pytest.mark.parametrize("line, file, code", CASES, ids=[line.replace("@", file) for line, file, _ in CASES])
def test_an_input_that_is_none(line: str, file: str, code: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = ends(line.replace("@", file), code, place, monkeypatch)
    assert file in told and "error: " in told


@pytest.mark.parametrize("words", OPTIONS)
def test_wrong_use(words: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = ends(words, 2, place, monkeypatch)
    assert told and str(place) not in told  # no path that the user did not write


def test_every_command_is_in_the_table() -> None:
    def leaves(command, before: str = "") -> set[str]:  # type: ignore[no-untyped-def]
        inside = getattr(command, "commands", None)
        if inside is None:
            return {before.strip()}
        return {leaf for name, one in inside.items() for leaf in leaves(one, f"{before} {name}")}

    lines = (*INPUTS, *ON_PAPER, *LISTS, *RECIPES, *MODELS, *OPTIONS)
    untried = {name for name in leaves(get_command(app)) if not any(line.startswith(name) for line in lines)}
    assert untried == {"data list"}  # takes nothing
