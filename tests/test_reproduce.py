"""The papers' experiments run from end to end at the size of tests; tasks, test sets and tables on planted truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from einthoven.cli import app  # noqa: E402
from einthoven.data import Choice, Index, Origin, build  # noqa: E402
from einthoven.data.entry import Dataset, Entry  # noqa: E402
from einthoven.record import EcgError, Record  # noqa: E402
from einthoven.train.reproduce import ecgfm_peft, exchangeai  # noqa: E402
from einthoven.train.reproduce.material import apart, folds_of, simulated, simulated_index  # noqa: E402
from einthoven.train.reproduce.sheet import Kept, Sheet, paragraphs  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 simulated ECGs, as both experiments take them where no data are given."""
    folder = tmp_path_factory.mktemp("made") / "index"
    simulated_index(folder, simulated(records=160))
    return folder


def planted(folder: Path, codes: list[tuple[str, ...]], name: str = "mimic") -> Index:
    """An Index whose records differ in a sample and have these codes."""

    def entries(path: Path, choice: Choice) -> object:
        return (Entry(str(i), "planted", name, patient=str(i), part=i, codes=c) for i, c in enumerate(codes))

    def read(entry: Entry, choice: Choice) -> Record:
        signal = np.zeros((12, 1000), np.float32)
        signal[:, entry.part + 1] = 1
        leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
        return Record(signal, 100.0, leads)

    dataset = Dataset(name, "planted", lambda path: False, entries, read)  # type: ignore[arg-type]
    return build([Origin(Path("."), dataset)], folder, jobs=1)


def test_exchangeai_from_end_to_end(made: Path, tmp_path: Path) -> None:
    words = [
        *("reproduce", "exchangeai", "--smoke", "--data", str(made), "--models", "xception-time,se-resnet"),
        *("--tasks", "superclasses", "-j", "1", "-o", str(tmp_path / "out")),
    ]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    told = json.loads((tmp_path / "out" / "exchangeai.json").read_text())
    ways = [(r["model"], r["trained"], r["start"]) for r in told["rows"]]
    assert ways == [
        ("xception-time", "head", "pre-trained here"),
        ("xception-time", "all layers", "pre-trained here"),
        ("xception-time", "all layers", "fresh"),
        ("xception-time", "all layers", "fresh"),
        ("se-resnet", "head", "pre-trained here"),
        ("se-resnet", "all layers", "pre-trained here"),
    ]
    for row in told["rows"]:
        value, low, high = row["weighted F1"]
        assert 0 <= low <= value <= high <= 1 and row["tested on"] == "synth fold 10"
        assert (row["trained parameters"] == row["parameters"]) == (row["trained"] == "all layers")
    text = (tmp_path / "out" / "exchangeai.md").read_text()
    assert "simulated" not in told["about"]["data"] and f"{made.name} (160 records)" in text
    rows = list(csv.DictReader((tmp_path / "out" / "exchangeai.csv").open()))
    assert len(rows) == 6 and float(rows[0]["weighted F1 low"]) <= float(rows[0]["weighted F1"])
    assert (tmp_path / "out" / "exchangeai.png").stat().st_size > 5000
    assert not list((tmp_path / "out" / "work").iterdir())
    # Once more: every trial is kept, so nothing is trained and the table is the same.
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and "records to train on" not in again.output
    assert json.loads((tmp_path / "out" / "exchangeai.json").read_text())["rows"] == told["rows"]
    other = CliRunner().invoke(app, [*words, "--seed", "1"])
    assert other.exit_code == 1 and "other settings" in other.output


def test_ecgfm_peft_from_end_to_end(made: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app, ["reproduce", "ecgfm-peft", "--smoke", "--data", str(made), "-j", "1", "-o", str(tmp_path), "--json"]
    )
    assert ran.exit_code == 0, ran.output
    told = json.loads((tmp_path / "ecgfm-peft.json").read_text())
    rows = {r["method"]: r for r in told["rows"]}
    assert list(rows) == ["full", "adapter", "LoRA", "head", "full, global z-score"]
    assert rows["full"]["trained %"] == 100 and rows["full"]["paper F1"] == 0.8366
    assert rows["head"]["trained parameters"] < rows["LoRA"]["trained parameters"]
    assert rows["head"]["memory MB"] < rows["full"]["memory MB"]
    assert "not the paper's data" in told["about"]["segments"]
    assert (tmp_path / "ecgfm-peft.png").stat().st_size > 5000


def test_segments_of_the_papers_own_form_are_taken(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = tmp_path / "df_segment2.csv"
    wave = np.sin(np.arange(600) / 9)
    with table.open("w") as file:
        for i in range(60):
            row = wave * (1 + i % 2) + rng.normal(0, 0.1, 600)
            file.write(",".join(f"{v:.4f}" for v in row) + f",{i % 2}\n")
    sheet = ecgfm_peft.reproduce(
        ecgfm_peft.Settings(data=str(table), fs=100.0, size="smoke", arms=("LoRA",)), tmp_path / "out", log=lambda w: None
    )
    assert "60 segments, 30 with label 1" in sheet.about["segments"] and "nobody says whose" in sheet.about["split"]
    assert sheet.rows[0]["rate"] == "0.0025" and sheet.rows[0]["paper trained %"] == 3.26


def test_shares_are_the_arithmetic_of_rank_and_width() -> None:
    counted = {r["choice"]: r for r in ecgfm_peft.shares()}
    head, layers, d, hidden = 768 * 2 + 2, 12, 768, 3072
    lora = {"q, v": 2 * 2 * d, "q, k, v": 3 * 2 * d, "q, k, v, out": 4 * 2 * d, "q, fc1": 2 * d + d + hidden}
    for name, width in lora.items():
        assert counted[f"LoRA r=48: {name}"]["trained parameters"] == 48 * width * layers + head
    houlsby = counted["houlsby adapters, width 128"]["trained parameters"]
    assert houlsby == 2 * layers * (2 * d * 128 + 128 + d) + head
    assert counted["LoRA r=48: q, k, v"]["share"] == "2.85%" and counted["LoRA r=128: every linear layer"]["share"] == "19.03%"


def test_a_single_class_is_the_only_superclass(tmp_path: Path) -> None:
    index = planted(
        tmp_path / "i", [("scp:NORM",), ("scp:IMI",), ("scp:IMI", "scp:CLBBB"), ("scp:LVH",), ("scp:CLBBB",)], "ptbxl"
    )
    labels = exchangeai.labels_for(index, exchangeai.TASKS["superclasses"])
    np.testing.assert_array_equal(labels.known, [1, 3, 4])
    assert [labels.names[k] for k in labels.matrix[labels.known].argmax(1)] == ["MI", "HYP", "CD"]
    blocks = exchangeai.labels_for(index, exchangeai.TASKS["blocks"])
    np.testing.assert_array_equal(blocks.known, [2, 4])


def test_hospital_codes_are_mapped_as_the_paper_maps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchangeai, "LEAST", 1)
    codes: list[tuple[str, ...]] = [
        ("icd10:I44.7", "statement:CRBBB"),
        ("icd10:I45.1",),
        ("icd10:I21.0",),
        ("icd10:I11.9",),
        ("icd10:I10",),
    ]
    index = planted(tmp_path / "i", [*codes, ("icd10:I447", "icd10:I451")])
    blocks = exchangeai.test_set("x", index, np.arange(6), exchangeai.TASKS["blocks"])
    assert blocks is not None and blocks.names == ("LBBB", "RBBB")
    np.testing.assert_array_equal(blocks.rows, [0, 1])  # the record with both has not one
    probability = np.array([[0.2, 0.4, 0.4]]) @ blocks.merge  # CLBBB, CRBBB, IRBBB: both right ones are one class
    np.testing.assert_allclose(probability, [[0.2, 0.8]], rtol=1e-6)
    superclasses = exchangeai.test_set("x", index, np.arange(6), exchangeai.TASKS["superclasses"])
    assert superclasses is not None and set(superclasses.names) == {"HYP", "MI", "CD", "STTC"}  # STTC: said is wrong
    assert len(superclasses.rows) == 4
    assert exchangeai.test_set("x", planted(tmp_path / "j", [("icd10:I10",)]), np.arange(1), exchangeai.TASKS["blocks"]) is None


def test_the_papers_figures_stand_where_the_same_was_done() -> None:
    ways = {w.key: w for w in exchangeai.ways(exchangeai.Settings())}
    assert len(ways) == 13
    task = exchangeai.TASKS["superclasses"]
    printed = {key: exchangeai._printed(way, task, "ptbxl")[0] for key, way in ways.items()}
    assert printed["cardx/head/pre-trained here/tune"] == 0.520 and printed["cardx/full/pre-trained here/tune"] is None
    assert printed["xception-time/full/fresh/tune"] == 0.686 and printed["xception-time/full/fresh/scratch"] == 0.792
    assert exchangeai._printed(ways["ecg-fm/head/pre-trained here/tune"], task, "georgia") == (None, None)


def test_folds_move_down_where_the_last_is_missing(made: Path, tmp_path: Path) -> None:
    index = Index.open(made)
    folds = np.asarray(index.column("fold"))
    whole = folds_of(index)
    assert set(folds[whole.tune]) == {9} and set(folds[whole.test]) == {10} and "moves" not in whole.words
    part = folds_of(index.select(np.flatnonzero(folds < 10)))
    assert "8 to fine-tune, 9 to test" in part.words and "moves down by 1" in part.words
    with pytest.raises(EcgError, match="folds"):
        folds_of(planted(tmp_path / "i", [("scp:NORM",)]))


def test_a_test_set_that_was_trained_on_is_left_out(made: Path) -> None:
    index = Index.open(made)
    told: list[str] = []
    rows = apart(index, index.select(np.arange(100)), told.append)
    assert len(rows) == 60 and (rows >= 100).all() and "100 of 160" in told[0]


def test_a_run_goes_on_and_refuses_other_settings(tmp_path: Path) -> None:
    calls = []

    def work() -> dict[str, int]:
        calls.append(1)
        return {"x": 1}

    for _ in range(2):
        assert Kept(tmp_path, {"seed": 0}).get("a", work) == {"x": 1}
    assert len(calls) == 1
    (tmp_path / "trials.jsonl").write_text(
        (tmp_path / "trials.jsonl").read_text() + '{"trial": "b", "resu'
    )  # killed in the line
    assert list(Kept(tmp_path, {"seed": 0}).done) == ["a"]
    with pytest.raises(EcgError, match="other settings"):
        Kept(tmp_path, {"seed": 1})
    assert not Kept(tmp_path, {"seed": 1}, fresh=True).done


def test_a_sheet_says_the_same_three_times() -> None:
    sheet = Sheet(
        "T", ("a", "b"), ({"a": "x", "b": (0.5, 0.25, float("nan"))}, {"a": "y", "b": None}), {"data": "none"}, ("n",)
    )
    assert "| x | 0.500 |" in sheet.markdown() and "| y | - |" in sheet.markdown()
    assert sheet.csv().splitlines() == ["a,b,b low,b high", "x,0.5,0.25,", "y,,,"]
    assert json.loads(sheet.json())["rows"][0]["b"] == [0.5, 0.25, None]
    assert paragraphs("  a\n b\n\n c ") == ("a b", "c")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["exchangeai", "--models", "gpt"], "no models gpt"),
        (["exchangeai", "--weights", "cardx"], "MODEL=PATH"),
        (["exchangeai", "--size", "huge"], "smoke, short, paper"),
        (["ecgfm-peft", "--size", "huge"], "smoke, short, paper"),
    ],
)
def test_wrong_use_is_told(words: list[str], told: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["reproduce", *words, "-o", str(tmp_path)])
    assert ran.exit_code in (1, 2) and told in ran.output
