"""Public instruction sets in their own files, mixing, folds and leaks, the Hub, and a server that writes samples."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from einthoven.data import Index
from einthoven.data.datasets.table import by_name
from einthoven.data.index import Origin, build
from einthoven.data.instruct.facts import Facts, Figure
from einthoven.data.instruct.readers import FORMS, read_set, record_of
from einthoven.data.instruct.sample import Sample, Turn, read
from einthoven.data.instruct.server import Server
from einthoven.data.instruct.sets import bench_text, check_leaks, counted, ecg_bench, folded, mix, publish, ties_of
from einthoven.data.instruct.written import by_model, sheet, unsupported
from einthoven.io import write as write_ecg
from einthoven.record import EcgError
from einthoven.synth import simulate

TALK = [{"from": "human", "value": "<image>\nIs the rhythm sinus?"}, {"from": "gpt", "value": "Yes."}]

# A tiny example of each set in its official layout: file (or tree), and what must come of it.
ECGINSTRUCT = [
    {"id": "1", "image": "ptb-xl/00001_hr-0.png", "conversations": TALK},
    {
        "id": "2",
        "image": "mimic/40689238-0.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhich is it?\nA. AF\nB. Sinus rhythm\nC. VT\nD. Flutter"},
            {"from": "gpt", "value": "B. Sinus rhythm"},
            {"from": "human", "value": "And the axis?"},
            {"from": "gpt", "value": "Normal."},
        ],
    },
    {"id": "3", "image": "code15_v4/123-0.png", "conversations": [{"from": "human", "value": "<image>\nHello"}]},
]
ECGBENCH = [
    {
        "id": "a",
        "image_path": "ptb-test/00001_hr.png",
        "conversations": json.dumps(
            [{"from": "human", "value": "<image>\nClassify: NORM, MI, STTC, CD, HYP."}, {"from": "gpt", "value": "STTC; CD"}]
        ),
    }
]
ECG_QA = [
    {
        "template_id": 2, "question_id": 1, "sample_id": 7, "question_type": "single-verify", "attribute_type": "scp_code",
        "question": "Does this ECG show symptoms of st/t change?", "answer": ["yes"], "ecg_id": [1],
        "attribute": ["st/t change"],
    },
    {
        "template_id": 69, "question_id": 2, "sample_id": 8, "question_type": "comparison_irrelevant-query",
        "attribute_type": "numeric_feature", "question": "What became abnormal?", "answer": ["qt corrected", "qt interval"],
        "ecg_id": [1, 2], "attribute": None,
    },
    {
        "template_id": 4, "question_id": 3, "sample_id": 9, "question_type": "single-choose", "attribute_type": "scp_code",
        "question": "Which, a or b?", "answer": [], "ecg_id": [40689238], "attribute": ["a", "b"],
    },
]  # fmt: skip
ECG_CHAT = [
    {
        "id": "c",
        "ecg": "files/p1000/p10000032/s40689238/40689238",
        "conversations": [{"from": "human", "value": "Please report.\n<ecg>"}, {"from": "gpt", "value": "Sinus rhythm."}],
    }
]
GROUNDING = [
    {
        "id": "g",
        "ecg": "files/p1000/p10000032/s40689238/40689238",
        "image": "gen/40689238-0.png",
        "conversations": TALK,
        "machine_measurements": {"II": {"PR Interval": ["160", "162"]}},
        "report": "sinus rhythm",
    }
]


def put(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def test_ecginstruct(tmp_path: Path) -> None:
    got = read_set(put(tmp_path / "ECGInstruct.json", ECGINSTRUCT))
    yes, choice = got.samples
    assert yes.records == ("ptbxl:1",) and yes.turns == (Turn("user", "<ecg>\nIs the rhythm sinus?"), Turn("assistant", "Yes."))
    assert (yes.kind, yes.options, yes.answers, yes.topic) == ("verify", ("yes", "no"), ("yes",), "rhythm")
    assert choice.records == ("mimic:40689238",) and len(choice.turns) == 4 and choice.kind == "open"
    assert got.skipped == {"no answer": 1} and yes.made["names"] == ["ptb-xl/00001_hr-0.png"]


def test_ecgbench_of_the_hub_and_in_json(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "ptb-test").mkdir()
    pq.write_table(pa.Table.from_pylist([{**row, "image": b"png"} for row in ECGBENCH]), tmp_path / "ptb-test" / "test.parquet")
    (one,) = read_set(tmp_path / "ptb-test").samples
    (other,) = read_set(put(tmp_path / "ptb-test.json", ECGBENCH)).samples
    assert one.answers == other.answers == ("STTC", "CD") and one.options == ("NORM", "MI", "STTC", "CD", "HYP")
    assert one.kind == "closed" and one.made["task"] == "ptb-test" and one.records == ("ptbxl:1",)


def test_multiple_choice_of_ecgbench(tmp_path: Path) -> None:
    ask = "<image>\nWhich?\nA. PACE\nB. SB\nC. AF\nD. ST"
    row = {**ECGBENCH[0], "conversations": [{"from": "human", "value": ask}, {"from": "gpt", "value": "C"}]}
    (one,) = read_set(put(tmp_path / "csn-test-no-cot.json", [row])).samples
    assert (one.kind, one.options, one.answers) == ("choice", ("PACE", "SB", "AF", "ST"), ("AF",))


def test_ecg_qa(tmp_path: Path) -> None:
    put(tmp_path / "qa" / "template" / "train" / "0.json", ECG_QA)
    (tmp_path / "qa" / "answers_for_each_template.csv").write_text(
        "template_id,classes\n2,\"['no', 'yes']\"\n69,\"['qt corrected', 'qt interval', 'none']\"\n"
    )
    verify, compare, choose = read_set(tmp_path / "qa" / "template").samples
    assert (verify.kind, verify.options, verify.answers, verify.records) == ("verify", ("no", "yes"), ("yes",), ("ptbxl:1",))
    assert compare.records == ("ptbxl:1", "ptbxl:2") and compare.question.startswith("First ECG: <ecg>\nSecond ECG: <ecg>\n")
    assert compare.answers == ("qt corrected", "qt interval") and compare.answer == "qt corrected; qt interval"
    assert choose.records == ("mimic:40689238",) and choose.answers == ("none",) and choose.options == ("a", "b", "none")
    assert verify.made["question_type"] == "single-verify" and verify.made["split"] == "train" and verify.topic == "diagnosis"


def test_ecg_chat_and_grounding(tmp_path: Path) -> None:
    (chat,) = read_set(put(tmp_path / "chat.json", ECG_CHAT)).samples
    assert (
        chat.turns[0].content == "<ecg>\nPlease report."
        and chat.group == "mimic:10000032"
        and chat.records == ("mimic:40689238",)
    )
    (gem,) = read_set(put(tmp_path / "gem.json", GROUNDING)).samples
    assert (
        gem.evidence == ({"name": "PR Interval", "leads": ["II"], "values": ["160", "162"]},) and gem.source == "ecg-grounding"
    )
    assert gem.made["report"] == "sinus rhythm" and {chat.source, gem.source} < set(FORMS)


@pytest.mark.parametrize(
    ("name", "record"),
    [("ptb-xl/00001_hr-0.png", "ptbxl:1"), ("records500/00000/01234_lr", "ptbxl:1234"),
     ("mimic_v4/40689238-1.png", "mimic:40689238"),
     ("code15_v4/77-0.png", "code15:77"), ("cpsc/A0001.png", "cpsc/A0001.png"), ("./own/x.png", "own/x.png")],
)  # fmt: skip
def test_names_of_files_are_names_of_records(name: str, record: str) -> None:
    assert record_of(name) == record


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    import csv

    folder = tmp_path_factory.mktemp("ptbxl")
    (folder / "records100").mkdir()
    with (folder / "ptbxl_database.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow("ecg_id patient_id age sex report scp_codes strat_fold filename_lr filename_hr".split())
        for i in (1, 2, 3):
            write_ecg(simulate(rate=60 + 5 * i, seed=i, fs=100).record, folder / f"records100/{i}.hea", "wfdb")
            out.writerow(
                [i, f"{7 if i < 3 else 8}.0", 60, 0, "sinusrhythmus", "{'NORM': 100.0, 'SR': 0.0}", i, f"records100/{i}", ""]
            )
    return build([Origin(folder, by_name("ptbxl"))], folder / "index")


def test_an_index_tells_patients_and_what_is_not_there(tmp_path: Path, index: Index) -> None:
    got = read_set(put(tmp_path / "0.json", ECG_QA), index=index)
    assert [s.group for s in got.samples] == ["ptbxl:7", "ptbxl:7"] and [s.fold for s in got.samples] == [1, None]
    assert got.skipped == {"its ECG is not in the index": 1}


@pytest.mark.parametrize(
    ("rows", "words"), [({"a": 1}, "a list"), ([1], "no object"), ([{"x": 1}], "no form that is known"), ([], "no row")]
)
def test_what_is_no_set(tmp_path: Path, rows: Any, words: str) -> None:
    with pytest.raises(EcgError, match=words):
        read_set(put(tmp_path / "x.json", rows))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(EcgError, match="not JSON"):
        read_set(tmp_path / "y.json")
    with pytest.raises(EcgError, match="no such file"):
        read_set(tmp_path / "z.json")
    with pytest.raises(EcgError, match="no form 'x'"):
        read_set(tmp_path / "y.json", "x")


# -- mixing, folds


def made(
    i: int, source: str = "a", patient: str = "", records: tuple[str, ...] = (), answer: str = "yes", pair: str = "one patient"
) -> Sample:
    shown = records or (f"{source}:{i}",)
    turns = (Turn("user", "<ecg>" * len(shown) + "?"), Turn("assistant", answer))
    return Sample(
        f"{source}{i}", shown, source, "verify", "rhythm", turns, ("yes", "no"), (answer,),
        made={"by": "t", "from": "dataset", "pair": pair}, group=patient or f"{source}:p{i}",
    )  # fmt: skip


def test_mixing_by_weights() -> None:
    parts = {"a": [made(i) for i in range(90)], "b": [made(i, "b") for i in range(40)]}
    got = mix(parts, {"a": 3, "b": 1}, seed=1)
    assert counted(got)["source"] == {"a": 90, "b": 30} and got == mix(parts, {"a": 3, "b": 1}, seed=1)
    assert counted(mix(parts, {"a": 1, "b": 1}, total=20))["source"] == {"a": 10, "b": 10}
    assert [s.source for s in got[:20]] != ["a"] * 20
    for weights, words in (({"c": 1}, "of which there are no samples"), ({"a": 0}, "above 0"), ({"a": -1}, "above 0")):
        with pytest.raises(EcgError, match=words):
            mix(parts, weights)
    with pytest.raises(EcgError, match="in two of the sets"):
        mix({"a": parts["a"], "b": parts["a"]}, {"a": 1, "b": 1})


def test_folds_keep_patients_and_pairs_together() -> None:
    samples = [made(i, patient=f"p{i // 3}", answer="no" if i % 5 else "yes") for i in range(90)]
    samples.append(made(99, patient="p0", records=("a:0", "a:89")))  # ties the first patient to the last
    got = folded(samples, 5, seed=2)
    of = {s.id: s.fold for s in got}
    assert {s.fold for s in got} == {1, 2, 3, 4, 5} and of["a0"] == of["a89"] == of["a99"]
    sizes = [sum(s.fold == k for s in got) for k in range(1, 6)]
    assert max(sizes) - min(sizes) <= 6 and folded(samples, 5, seed=2) == got
    with pytest.raises(EcgError, match="patient p1 is in train"):
        check_leaks({"train": samples[:4], "test": samples[4:]})
    with pytest.raises(EcgError, match="5 folds of 1"):
        folded(samples[:3], 5)


def test_comparisons_of_two_patients_tie_nobody() -> None:
    """They would tie all: those whose patients are in two folds are left out."""
    singles = [made(i) for i in range(40)]
    pairs = [made(100 + i, patient=f"a:p{i}", records=(f"a:{i}", f"a:{i + 1}"), pair="two patients") for i in range(39)]
    got = folded([*singles, *pairs], 4)
    of = {s.records[0]: s.fold for s in got if len(s.records) == 1}
    kept = [s for s in got if len(s.records) == 2]
    assert [sum(f == k for f in of.values()) for k in range(1, 5)] == [10] * 4 and 0 < len(kept) < 39
    assert all(of[s.records[0]] == of[s.records[1]] == s.fold for s in kept)
    check_leaks({str(k): [s for s in got if s.fold == k] for k in range(1, 5)})


def test_what_an_index_knows_ties_too() -> None:
    """Two names of one signal: the sets say nothing of it, the index does."""
    samples = [made(i) for i in range(20)]
    got = {s.id: s.fold for s in folded(samples, 5, ties={"a:0": "g", "a:19": "g", "a:7": "g"})}
    assert got["a0"] == got["a19"] == got["a7"] and len({s.fold for s in folded(samples[:1] + samples[7:8], 2)}) == 2
    with pytest.raises(EcgError, match="group g is in train"):
        check_leaks({"train": samples[:1], "test": samples[7:8]}, {"a:0": "g", "a:7": "g"})


def test_ties_are_those_of_the_splits(index: Index) -> None:
    ties = ties_of(index)
    assert ties["ptbxl:1"] == ties["ptbxl:2"] != ties["ptbxl:3"]


def test_strata_are_spread_evenly() -> None:
    got = folded([made(i, answer="yes" if i % 10 == 0 else "no") for i in range(200)], 5)
    assert [sum(s.fold == k and s.answer == "yes" for s in got) for k in range(1, 6)] == [4] * 5


def test_what_the_hub_gets(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    samples = folded([made(i) for i in range(10)], 5)
    place = publish(samples, tmp_path / "hub", "Some samples")
    assert sorted(p.name for p in (place / "data").iterdir()) == [f"fold{k}.parquet" for k in range(1, 6)]
    assert [s for k in range(1, 6) for s in read(place / "data" / f"fold{k}.parquet")] == sorted(
        samples, key=lambda s: s.fold or 0
    )
    words = (place / "README.md").read_text()
    assert words.startswith("---\ntask_categories:") and "  - split: fold1\n    path: data/fold1.parquet" in words
    bench = ecg_bench(samples, tmp_path / "bench", "Some samples")
    train, test = (pq.read_table(bench / "data" / f"fold2_{part}.parquet") for part in ("train", "test"))
    assert train.column_names == ["ecg_path", "text", "name"] and (train.num_rows, test.num_rows) == (8, 2)
    assert json.loads(test["text"][0].as_py()) == ["single-verify", "?", ["yes"]]
    assert not set(train["ecg_path"].to_pylist()) & set(test["ecg_path"].to_pylist())
    assert json.loads(bench_text(made(1, records=("x", "y"))))[0] == {"from": "human", "value": "<ecg><ecg>?"}
    with pytest.raises(EcgError, match="is there already"):
        publish(samples, tmp_path / "hub", "again")
    with pytest.raises(EcgError, match="needs folds"):
        ecg_bench([made(1)], tmp_path / "x", "no folds")


def test_the_command(index: Index, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from einthoven.cli import app

    qa, out = put(tmp_path / "qa" / "0.json", ECG_QA[:2]), tmp_path / "out.parquet"
    words = ["data", "instruct", str(index.folder), "-o", str(out), "--mix", f"{qa.parent}=1", "--mix", "index=4"]
    done = CliRunner().invoke(app, [*words, "--per-record", "6", "-j", "1", "--json"])
    assert done.exit_code == 0, done.output
    samples = read(out)
    assert {s.source for s in samples} == {"ptbxl", "ecg-qa"} and json.loads(done.stdout)["samples"] == len(samples)
    again = tmp_path / "again.jsonl"
    mixed = ["data", "instruct", "-o", str(again), "--mix", str(out), "--kinds", "verify,report"]
    assert CliRunner().invoke(app, mixed).exit_code == 0
    assert {s.kind for s in read(again)} <= {"verify", "report"} and len(read(again)) > 0
    hub = CliRunner().invoke(app, ["data", "instruct", "-o", str(tmp_path / "hub"), "--mix", str(out), "--hub"])
    assert hub.exit_code == 0 and (tmp_path / "hub" / "README.md").is_file()
    wrong = CliRunner().invoke(app, ["data", "instruct", "-o", str(out), "--mix", f"{out}=many"])
    assert wrong.exit_code == 2 and "FILE=WEIGHT" in wrong.stderr


# -- a server


@pytest.fixture
def stub() -> Iterator[Any]:
    """A server that says what it is told to; `asked` are the bodies it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
            status, text = server.say.pop(0) if len(server.say) > 1 else server.say[0]  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            reply = {"choices": [{"message": {"content": text}}], "model": "stub-1", "usage": {"total_tokens": 7}}
            self.wfile.write(text.encode() if status != 200 or text.startswith("!") else json.dumps(reply).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.say = [], [(200, "hello")]  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def at(stub: Any, **more: Any) -> Server:
    return Server(f"http://127.0.0.1:{stub.server_address[1]}/v1", "m", pause=0.01, **more)


def test_a_question_to_a_server(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EINTHOVEN_API_KEY", "secret-key")
    reply = at(stub).ask([{"role": "user", "content": "Hi"}])
    path, headers, body = stub.asked[0]
    assert (reply.text, reply.model, reply.tokens) == ("hello", "stub-1", {"total_tokens": 7})
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret-key"
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 1024}
    assert "secret" not in repr(reply) and reply.settings == {"temperature": 0, "max_tokens": 1024}


def test_a_server_that_stumbles_is_asked_again(stub: Any) -> None:
    stub.say = [(503, "busy"), (429, "slow"), (200, "there")]
    assert at(stub).ask([]).text == "there" and len(stub.asked) == 3
    stub.say = [(503, "busy")]
    with pytest.raises(EcgError, match="no answer after 2 tries: status 503: busy"):
        at(stub, retries=1).ask([])


@pytest.mark.parametrize(
    ("say", "words"), [((400, "bad model"), "refused: status 400: bad model"), ((200, "!nonsense"), "no chat completion"),
                       ((200, "!" + "x" * (2 << 20)), "beyond 1 MB")]
)  # fmt: skip
def test_a_server_that_says_something_else(stub: Any, say: tuple[int, str], words: str) -> None:
    stub.say = [say]
    with pytest.raises(EcgError, match=words):
        at(stub).ask([])
    assert len(stub.asked) == 1


@pytest.mark.parametrize("url", ["ftp://x/v1", "localhost:8000", "http://me:word@x/v1", ""])
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(EcgError, match="a server is"):
        Server(url, "m")
    with pytest.raises(EcgError, match="no answer after 1 tries"):
        Server("http://127.0.0.1:9/v1", "m", retries=0, timeout=2).ask([])


KNOWN = Facts(
    "ptbxl:1", "ptbxl:7", "ptbxl", stated={"sinus_rhythm": 0.0, "crbbb": 100.0}, superclasses=frozenset({"CD"}),
    figures={"qrs_ms": Figure(148.0, "ms"), "rate_bpm": Figure(70.0, "/min")},
)  # fmt: skip


def test_a_model_writes_samples_and_its_inventions_are_left_out(stub: Any) -> None:
    good = json.dumps([{"question": "Rhythm?", "answer": "Sinus rhythm with right bundle branch block."}])
    bad = "```json\n" + json.dumps([{"question": "Infarct?", "answer": "There is an old inferior infarction."}]) + "\n```"
    stub.say = [(200, good), (200, bad), (200, "I cannot."), (200, good)]
    got = by_model(at(stub), [KNOWN, KNOWN.__class__(**{**vars(KNOWN), "record": "ptbxl:2"})], tasks=("open", "report"))
    assert [s.kind for s in got.samples] == ["open", "report"] and got.samples[0].records == ("ptbxl:1",)
    assert got.failed == {"says what nothing supports": 1, "the model's answer is not JSON": 1}
    about = got.samples[0].made
    assert about["by"] == "stub-1" and about["prompt"][1]["content"].startswith(
        "Stated by the reader: sinus rhythm; complete right"
    )
    assert "QRS duration: 148 ms" in sheet(KNOWN) and about["settings"]["temperature"] == 0
    assert unsupported("Atrial fibrillation, no LBBB. RBBB.", KNOWN) == ["atrial_fibrillation"]


# -- real files


def test_real_ecg_qa(shared_data: Path) -> None:
    """The files of ECG-QA that are at hand: every question gives a sample, and its right answer is read as itself."""
    from einthoven.evaluate.answers import chosen

    if not (shared_data / "ecgqa").is_dir():
        pytest.skip("no ECG-QA at hand")
    got = read_set(shared_data / "ecgqa" / "template")
    assert len(got.samples) == 2294 and got.skipped == {}
    for s in got.samples[::17]:
        assert s.options and chosen(s.answer, s.options) == frozenset(s.answers), s
