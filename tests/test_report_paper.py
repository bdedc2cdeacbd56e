"""What the user of a photo sees: findings equal those of the file, the page with its traces, three voices, "cannot be read"."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exchange_bundles import bundle, labels, made
from test_report_formats import Outside, schema
from typer.testing import CliRunner

import einthoven as ecg
from einthoven.cli import app
from einthoven.exchange import shelf
from einthoven.interpretation import Report
from einthoven.io import write
from einthoven.opinion import Likelihood, Opinion, look_at, opinion, together
from einthoven.paper.distort.save import save_picture
from einthoven.paper.reading import PHOTO_PX, SHEET_PX, Hints, Reading, bounded, jpeg_bytes, read_paper
from einthoven.paper.save import save_page
from einthoven.record import STANDARD_LEADS, EcgError
from einthoven.report import save, to_fhir, to_html, to_json, to_pdf, to_text
from einthoven.report.words import agreement, doubts, verdict
from einthoven.represent.images import by_form, from_picture, scaled
from einthoven.synth import simulate

run = CliRunner()
RECORD = simulate("stemi_inferior", rate=72, age=61, sex="male", seed=7).record
WHY = "no millimetre grid was found"
SEEN = {"NORM": 2.0, "MI": 3.0, "STTC": -4.0, "PVC": -3.0}  # gains of a model that looks at the mean of the picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ECG as a file, a scan, a photo and a PDF; and a picture of nothing."""
    here = tmp_path_factory.mktemp("paper")
    write(RECORD, here / "ecg.npz")
    save_picture(RECORD, here / "scan.png", preset="scan", seed=4)
    save_picture(RECORD, here / "photo.jpg", preset="photo", seed=3)
    save_page(RECORD, here / "page.pdf")
    (here / "blank.jpg").write_bytes(jpeg_bytes(np.full((600, 800, 3), 235, np.uint8)))
    return here


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bundle whose model looks at the picture's mean: logits are SEEN times it."""
    from onnx import TensorProto, helper, numpy_helper

    form = by_form("photo-64")
    gains = np.array([list(SEEN.values())], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["column_of_means"]),
        helper.make_node("MatMul", ["column_of_means", "gains"], ["logits"]),
    ]
    held = [
        numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
        numpy_helper.from_array(np.array([-1, 1]), "column"),
        numpy_helper.from_array(gains, "gains"),
    ]
    shape = ["batch", 3, *form.size]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(SEEN)])],
        held,
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    about = made(
        name="mean-of-a-picture",
        task="multilabel",
        labels=labels(tuple(SEEN)),
        activation="sigmoid",
        inputs=[{"kind": "image", "form": form.to_dict()}],
        thresholds={"values": dict.fromkeys(SEEN, 0.5), "chosen_on": "nothing"},
        architecture={"model": "onnx"},
        licence="Apache-2.0",
    )
    shelf_of = tmp_path_factory.mktemp("shelf")
    bundle(shelf_of / "mean-of-a-picture", about, model_onnx=onnx_model.SerializeToString())
    return shelf_of / "mean-of-a-picture"


@pytest.fixture(scope="module")
def file(folder: Path) -> Report:
    return ecg.interpret(folder / "ecg.npz", model=None)


@pytest.fixture(scope="module")
def scan(folder: Path) -> Report:
    return ecg.interpret(folder / "scan.png")


@pytest.fixture(scope="module")
def blank(folder: Path, model: Path) -> Report:
    return ecg.interpret(folder / "blank.jpg", image_model=model)


def sure(report: Report) -> set[str]:
    return {f.name for f in report.findings if f.confidence in ("definite", "probable") and f.group != "quality"}


# ---- the same ECG, three ways in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scan.png", "photo.jpg", "page.pdf"])
def test_paper_says_what_the_file_says(folder: Path, file: Report, scan: Report, name: str) -> None:
    paper = scan if name == "scan.png" else ecg.interpret(folder / name, model=None)
    assert sure(file) == sure(paper) and "stemi" in sure(file)
    for figure, off in (("rate_bpm", 1.0), ("pr_ms", 10.0), ("qrs_ms", 10.0), ("qt_ms", 15.0)):
        assert paper.measurements[figure] == pytest.approx(file.measurements[figure], abs=off)
    assert file.paper is None and paper.paper is not None and not paper.unread
    assert paper.record.source.path == str(folder / name) and paper.record.source.format == "digitised"
    assert tuple(paper.paper.confidence) == STANDARD_LEADS and paper.paper.missing == ()
    assert (paper.paper.layout, paper.paper.rhythm, paper.paper.speed, paper.paper.gain) == ("3x4+1", ("II",), 25, 10)


def test_the_outline_is_where_the_page_lies_in_the_picture(tmp_path: Path) -> None:
    save_page(RECORD, tmp_path / "clean.png")
    _, reading, picture = read_paper(tmp_path / "clean.png")
    assert reading.outline is not None and reading.photo is not None
    high, wide = reading.photo.shape[:2]
    assert max(high, wide) == PHOTO_PX and reading.scale == pytest.approx(PHOTO_PX / max(picture.shape))
    corners = np.array([[0, 0], [wide, 0], [wide, high], [0, high]])
    assert np.abs(reading.outline - corners).max() < 0.02 * wide
    assert np.abs(np.array(to_json_paper(reading)) - corners / reading.scale).max() < 0.02 * picture.shape[1]


def to_json_paper(reading: Reading) -> list[list[float]]:
    from einthoven.report.asjson import paper_json

    told: list[list[float]] = paper_json(reading)["outline_px"]
    return told


def test_how_speed_gain_and_layout_are_known(folder: Path, scan: Report) -> None:
    record, told, _ = read_paper(folder / "scan.png", Hints(layout="3x4+1", speed=50, gain=20))
    drawn = read_paper(folder / "page.pdf")[1]
    found = scan.paper
    assert found is not None and record is not None and record.duration == pytest.approx(scan.record.duration / 2, abs=0.01)
    assert dict(told.basis) == dict.fromkeys(("layout", "speed", "gain"), "given") and (told.speed, told.gain) == (50, 20)
    assert found.basis["layout"] == found.basis["gain"] == "read" and found.basis["speed"] in ("read", "assumed")
    assert set(drawn.basis.values()) == {"read"} and doubts(drawn) == [] and drawn.means == "vectors"
    assert any("25 mm/s" in words for words in doubts(found)) is (found.basis["speed"] == "assumed")


def test_what_the_user_says_wrongly_is_an_error_and_what_does_not_fit_is_told(folder: Path) -> None:
    for hints in (Hints(layout="many"), Hints(speed=0.0), Hints(gain=math.nan), Hints(corners=[(0.0, 0.0)])):
        with pytest.raises(EcgError):
            read_paper(folder / "scan.png", hints)
    report = ecg.interpret(folder / "scan.png", model=None, layout="12x1")
    assert "12x1" in report.unread and report.findings == ()


def test_doubts_are_named_before_the_findings(scan: Report) -> None:
    assert scan.paper is not None
    basis = {"layout": "assumed", "speed": "assumed", "gain": "assumed"}
    shares = {**dict.fromkeys(STANDARD_LEADS[:11], 0.95), "V5": 0.42}
    doubtful = replace(scan, paper=replace(scan.paper, basis=basis, confidence=shares, missing=("V6",)))
    told = doubts(doubtful.paper)  # type: ignore[arg-type]
    wanted = ("misnamed: V5.", "usual order", "V5 (42%)", "V6", "25 mm/s", "10 mm/mV")
    assert all(words in line for words, line in zip(wanted, told, strict=True))
    for page in (to_html(doubtful), to_text(doubtful)):
        assert "V5 (42%)" in page and "Not read from the paper: V6" in page
    page = to_html(doubtful)
    assert page.index("V5 (42%)") < page.index("Findings and their evidence") and "42% not sure" in page
    every = replace(scan.paper, confidence=dict.fromkeys(STANDARD_LEADS, 0.4))
    assert every.unsure_words == "any lead (40% sure)"


# ---- the forms of the report ---------------------------------------------------------------------------------------------


def test_every_form_of_the_report_of_paper(scan: Report, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    values = json.loads(json.dumps(to_json(scan), allow_nan=False))
    jsonschema.validate(values, schema())
    assert values["paper"]["layout"] == "3x4+1" and values["paper"]["why_not"] is None
    assert values["opinions"][0] == {"sees": "signal", **values["opinion"]}
    assert len(values["agreement"]) == len(values["opinion"]["labels"])
    html = to_html(scan)
    assert len(html) < 3_000_000 and "From the paper" in html and "3x4+1" in html
    found = Outside()
    found.feed(html)
    assert "script" not in found.tags and found.handlers == [] and len(found.links) == 2
    assert all(link.startswith("data:image/jpeg;base64,") for link in found.links) and "img-src data:" in html
    assert "img-src" not in to_html(replace(scan, paper=None))
    pdf = to_pdf(scan)
    assert pdf.count(b"/DCTDecode") == 2 and pdf.startswith(b"%PDF") and len(pdf) < 3_000_000
    assert "From the paper:" in to_text(scan) and "--corners" in to_text(scan)


def test_the_pictures_are_the_jpegs_of_the_pdf(scan: Report) -> None:
    import pypdfium2

    document = pypdfium2.PdfDocument(to_pdf(scan))
    drawn = np.asarray(document[0].render(scale=2, rev_byteorder=True).to_numpy()[:, :, :3], np.float64)
    assert scan.paper is not None and scan.paper.sheet is not None
    # The sheet lies in the page's left: its mean colour is there, within what JPEG and the outline change.
    wide = drawn.shape[1]
    part = drawn[int(0.3 * drawn.shape[0]) : int(0.7 * drawn.shape[0]), int(0.1 * wide) : int(0.6 * wide)]
    assert np.abs(part.mean((0, 1)) - scan.paper.sheet.mean((0, 1))).max() < 12


def test_pictures_are_bounded(scan: Report) -> None:
    assert scan.paper is not None and scan.paper.sheet is not None and scan.paper.photo is not None
    assert max(scan.paper.sheet.shape) <= SHEET_PX and max(scan.paper.photo.shape) <= PHOTO_PX
    small = np.zeros((5, 9, 3), np.uint8)
    assert bounded(small, 10) is small and bounded(np.zeros((100, 10, 3), np.uint8), 50).shape == (50, 5, 3)


def test_the_paper_stands_in_its_own_layout(scan: Report) -> None:
    shown = replace(scan, paper=replace(scan.paper, rhythm=("V2",)))  # type: ignore[type-var]
    count = {lead: to_html(report).count(">V2<") for lead, report in (("II", scan), ("V2", shown))}
    assert count["V2"] == count["II"] + 1


# ---- a picture that cannot be read ---------------------------------------------------------------------------------------


def test_a_picture_of_nothing_says_so_in_every_form(blank: Report, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert WHY in blank.unread and blank.findings == () and len(blank.beats) == 0 and blank.record.leads == ()
    assert blank.conclusion.startswith("Cannot be read: ") and blank.quality.readable == "unreadable"
    values = json.loads(json.dumps(to_json(blank), allow_nan=False))
    jsonschema.validate(values, schema())
    assert WHY in values["paper"]["why_not"] and values["measurements"] == {}
    for words in (to_html(blank), to_text(blank)):
        assert "Cannot be read" in words and WHY in words and "--corners" in words and "Heart rate" not in words
    assert "Cannot be read" in to_fhir(blank)["conclusion"]
    for suffix in (".html", ".pdf", ".json", ".txt", ".fhir.json"):
        save(blank, tmp_path / f"r{suffix}")
    assert (tmp_path / "r.pdf").read_bytes().count(b"/DCTDecode") == 1


def test_the_image_model_may_still_speak_and_no_rule_denies_it(blank: Report, model: Path) -> None:
    (said,) = blank.opinions
    assert said.sees == "picture" and blank.opinion is None and {one.rules for one in said.labels} == {""}
    assert all(row.verdict == "" for row in together(blank.opinions))
    page = to_html(blank)
    assert "looks at the picture itself" in page and "are not calibrated" in page and "mean-of-a-picture" in page
    for words in (page, to_text(blank)):
        assert "no rule and no measurement confirms this" in words and "Rules" not in words and "image model says" in words


def test_measure_and_digitise_raise_where_interpret_tells(folder: Path) -> None:
    with pytest.raises(EcgError, match=WHY):
        ecg.digitize(folder / "blank.jpg")
    told = run.invoke(app, ["measure", str(folder / "blank.jpg")])
    assert told.exit_code == 1 and "cannot be read" in told.stderr and WHY in told.stderr


def test_what_is_no_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 100)
    with pytest.raises(EcgError, match=r"broken|not an image"):
        ecg.interpret(tmp_path / "broken.jpg")


# ---- three voices --------------------------------------------------------------------------------------------------------


def test_the_image_model_sees_the_photo_itself(folder: Path, model: Path) -> None:
    report = ecg.interpret(folder / "photo.jpg", image_model=model)
    assert [one.sees for one in report.opinions] == ["signal", "picture"] and report.opinion is report.opinions[0]
    _, _, picture = read_paper(folder / "photo.jpg")
    form = by_form("photo-64")
    mean = float(scaled(form, from_picture(form, picture)[None]).mean())
    said = {one.name: one.probability for one in report.opinions[1].labels}
    assert said == pytest.approx({k: 1 / (1 + math.exp(-g * mean)) for k, g in SEEN.items()}, abs=1e-4)
    jsonschema = pytest.importorskip("jsonschema")
    values = to_json(report)
    jsonschema.validate(json.loads(json.dumps(values)), schema())
    assert {len(row["models"]) for row in values["agreement"]} == {2}
    page = to_html(report)
    assert page.index("Signal model</th>") < page.index("Image model</th>") < page.index("Together</th>")
    assert any(r["id"].startswith("image-model-") for r in to_fhir(report)["contained"])


def test_the_shipped_image_model_is_asked_of_paper_only(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A sheet whose layout is said wrongly cannot be read, which spares the test the measuring; it has a grid.
    monkeypatch.setattr(shelf, "SHIPPED", model.parent)
    on_paper = ecg.interpret(folder / "scan.png", layout="12x1")
    assert on_paper.unread and [one.sees for one in on_paper.opinions] == ["picture"]
    assert ecg.interpret(folder / "scan.png", layout="12x1", image_model=None).opinions == ()
    assert on_paper.opinions[0].looked is None  # nobody asked for it
    looked = ecg.interpret(folder / "scan.png", layout="12x1", looks=True)
    assert looked.opinions[0].looked is not None and looked.opinions[0].looked.label == "MI"  # the largest of SEEN
    assert "looked at for" in to_html(looked) and "looked at for" not in to_html(on_paper)
    nothing = ecg.interpret(folder / "blank.jpg")
    assert nothing.paper is not None and not nothing.paper.grid and nothing.opinions == ()
    assert ecg.interpret(folder / "ecg.npz", model=None).opinions == ()
    named = ecg.interpret(folder / "ecg.npz", model=None, image_model=model)
    assert [one.sees for one in named.opinions] == ["drawing"]
    monkeypatch.setattr(shelf, "SHIPPED", tmp_path)  # no model there
    assert ecg.interpret(folder / "scan.png", layout="12x1").opinions == ()


def voice(said: bool | None, rules: str, sees: str) -> Opinion:
    """An opinion on one statement: yes, no, or without a threshold."""
    one = Likelihood("MI", "Myocardial infarction", 0.9 if said else 0.1, math.nan if said is None else 0.5, rules)
    return Opinion(f"a {sees} model", (one,), sees=sees)


@pytest.mark.parametrize(
    ("rules", "said", "told"),
    [
        ("present", (True, True), "all agree"),
        ("absent", (False, False), "all agree"),
        ("absent", (True, False), "disagree, 1 of 3 yes"),
        ("present", (True, False), "disagree, 2 of 3 yes"),
        ("possible", (True, True), "agree"),
        ("possible", (True, False), "disagree"),
        ("", (False, False), "agree"),
        ("present", (None, True), "agree"),
        ("present", (None, None), ""),
        ("", (None, True), ""),
        ("present", (True,), "agree"),
        ("absent", (True,), "disagree"),
    ],
)
def test_whether_the_voices_agree(rules: str, said: tuple[bool | None, ...], told: str) -> None:
    opinions = [voice(one, rules, sees) for one, sees in zip(said, ("signal", "picture"), strict=False)]
    (row,) = together(opinions)
    assert verdict(row) == told and row.rules == rules
    sentence = agreement(opinions)
    assert ("disagree: myocardial infarction" in sentence) is told.startswith("disagree") and bool(sentence) is bool(told)


def test_statements_of_one_model_alone_keep_their_place() -> None:
    def of(names: Iterable[str]) -> tuple[Likelihood, ...]:
        return tuple(Likelihood(name, name, share) for share, name in zip((0.9, 0.2, 0.1), names, strict=True))

    rows = together([Opinion("a", of(("PVC", "MI", "NORM"))), Opinion("b", of(("HYP", "AFIB", "MI")), sees="picture")])
    assert [row.name for row in rows] == ["NORM", "MI", "HYP", "PVC", "AFIB"]
    assert [[one is not None for one in row.models] for row in rows] == [
        [True, False],
        [True, True],
        [False, True],
        [True, False],
        [False, True],
    ]


# ---- the command line ----------------------------------------------------------------------------------------------------


def test_interpret_writes_the_page_of_what_cannot_be_read_and_exits_1(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    out = run.invoke(app, ["interpret", str(folder / "blank.jpg"), "-o", str(target)])
    assert out.exit_code == 1 and WHY in out.stderr and WHY in target.read_text(encoding="utf-8")
    line = json.loads(run.invoke(app, ["interpret", "--json", str(folder / "blank.jpg")]).stdout)
    assert line["ok"] is False and WHY in line["error"] and line["findings"] == []


def test_a_folder_of_photos_is_a_batch(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("ecg.npz", "scan.png", "blank.jpg"):
        (tmp_path / "in" / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "in" / "ecg.overlay.png").write_bytes((folder / "scan.png").read_bytes())
    out = tmp_path / "out"
    done = run.invoke(app, ["interpret", str(tmp_path / "in"), "-o", str(out), "-j", "1", "--format", "html", "--speed", "25"])
    assert done.exit_code == 1 and "2 done, 1 failed" in done.stderr
    lines = {Path(line["path"]).name: line for line in map(json.loads, (out / "results.jsonl").read_text().splitlines())}
    assert {name: line["ok"] for name, line in lines.items()} == {"blank.jpg": False, "ecg.npz": True, "scan.png": True}
    assert all((out / line["report"]).is_file() for line in lines.values())
    assert lines["scan.png"]["paper"]["basis"]["speed"] == "given" and lines["ecg.npz"]["paper"] is None


def test_measure_and_demo_take_what_is_known_of_the_page(folder: Path, scan: Report, tmp_path: Path) -> None:
    told = json.loads(run.invoke(app, ["measure", "--json", str(folder / "scan.png"), "--gain", "20"]).stdout)
    assert told["leads"]["V4"]["r_mv"] == pytest.approx(scan.measurements.leads["V4"].r_mv / 2, abs=0.02)
    made_ = run.invoke(app, ["demo", str(folder / "photo.jpg"), "--out", str(tmp_path / "demo"), "--layout", "3x4+1"])
    assert made_.exit_code == 0 and "From the paper" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    failed = run.invoke(app, ["demo", str(folder / "blank.jpg"), "--out", str(tmp_path / "none")])
    assert failed.exit_code == 1 and WHY in (tmp_path / "none" / "report.html").read_text(encoding="utf-8")


def test_a_picture_that_was_looked_at_beforehand_has_the_same_opinion(folder: Path, model: Path) -> None:
    pictures: list[np.ndarray] = []
    _, _, picture = read_paper(folder / "photo.jpg", seen=pictures.append)
    assert len(pictures) == 1 and pictures[0] is picture
    seen = look_at(picture, model, looks=True)
    assert seen is not None and seen.fault == ""
    before, at_once = (opinion(None, (), model, picture=picture, looks=True, seen=s) for s in (seen, None))
    assert before.labels == at_once.labels and before.sees == at_once.sees == "picture"
    assert before.looked is not None and at_once.looked is not None
    assert before.looked.label == at_once.looked.label and np.array_equal(before.looked.parts, at_once.looked.parts)
    assert look_at(picture, None) is None  # a model of signals has nothing to say of a picture
