"""A tiny tree of every dataset in its official layout, with planted truth. A reader without one fails the contract test.

Facts of the layouts: PTB-XL, LUDB and the Challenge as their official files are (checked against the real ones where these
are at hand); MIMIC-IV-ECG after https://mimic.mit.edu/docs/iv/modules/ecg, its ICD-10 file after MIMIC-IV-ECG-Ext-ICD 1.0.1;
CODE-15% after https://zenodo.org/records/4916206; SPH after its paper (Sci Data 2022, 9:272) and torch_ecg's reader. Of Yang
et al. no layout is public.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.data import Choice
from einthoven.io import write
from einthoven.record import STANDARD_LEADS, Record

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class Planted:
    """What the index must say of one record: `digital` (L, T) int16 microvolts by `leads`."""

    record: str
    patient: str
    digital: NDArray[np.int16]
    fs: float = 500.0
    leads: tuple[str, ...] = STANDARD_LEADS
    age: float | None = None
    sex: str | None = None
    fold: int = -1
    codes: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    text: str | None = None
    same_as: str | None = None


@dataclass(frozen=True)
class Example:
    """A source, the choice it needs, its truth, and what must be told as failed or absent (by parts of the names)."""

    path: Path
    planted: tuple[Planted, ...]
    choice: Choice = Choice()  # noqa: RUF009
    failed: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def beat(seed: int, samples: int = 200) -> NDArray[np.int16]:
    """(12, samples) int16 microvolts that keep Einthoven's law to 2 uV, so that nothing is said about them."""
    rng = np.random.default_rng(seed)
    i, ii = rng.normal(0, 300, (2, samples)).round()
    rest = rng.normal(0, 400, (6, samples)).round()
    limb = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2]
    return np.clip(np.concatenate([np.stack(limb), rest]).round(), -3000, 3000).astype(np.int16)


def put(path: Path, digital: NDArray[np.int16], fs: float = 500.0, leads: tuple[str, ...] = STANDARD_LEADS) -> None:
    """A WFDB record of these microvolts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = [STANDARD_LEADS.index(n) for n in leads]
    write(Record((digital[order] / 1000).astype(np.float32), fs, leads, resolution_uv=(1.0,) * len(leads)), path, "wfdb")


def table(path: Path, lines: list[dict[str, object]], mark: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, list(lines[0]), delimiter=mark)
        out.writeheader()
        out.writerows(lines)


def ptbxl(folder: Path) -> Example:
    signals = [beat(i) for i in (1, 2, 3)]
    rows: list[dict[str, object]] = []
    about = (
        ("1", "15709.0", "56.0", 1, "{'NORM': 100.0, 'SR': 0.0}", 3),
        ("2", "13243.0", "300.0", 0, "{'IMI': 35.0, 'LAFB': 100.0, 'AFIB': 0.0}", 9),
        ("3", "15709.0", "", 1, "{'LAO/LAE': 100.0, 'PRC(S)': 100.0}", 10),
    )
    for (ecg, patient, age, sex, codes, fold), signal in zip(about, signals, strict=True):
        lr, hr = f"records100/00000/{int(ecg):05d}_lr", f"records500/00000/{int(ecg):05d}_hr"
        put(folder / f"{lr}.hea", signal, 100.0)
        put(folder / f"{hr}.hea", signal[:, ::-1].copy(), 500.0)
        rows.append(
            {"ecg_id": ecg, "patient_id": patient, "age": age, "sex": sex, "site": "0.0", "device": "CS-12   E"}
            | {"report": f"report {ecg}", "scp_codes": codes, "strat_fold": fold, "filename_lr": lr, "filename_hr": hr}
        )
    table(folder / "ptbxl_database.csv", rows)
    (folder / "scp_statements.csv").write_text(",description,diagnostic\n", encoding="utf-8")
    return Example(
        folder,
        (
            Planted(
                "ptbxl:1",
                "ptbxl:15709",
                signals[0],
                100.0,
                age=56,
                sex="female",
                fold=3,
                codes=("scp:NORM", "scp:SR"),
                text="report 1",
            ),
            Planted(
                "ptbxl:2",
                "ptbxl:13243",
                signals[1],
                100.0,
                age=90,
                sex="male",
                fold=9,
                codes=("scp:IMI", "scp:LAFB", "scp:AFIB"),
            ),
            Planted("ptbxl:3", "ptbxl:15709", signals[2], 100.0, sex="female", fold=10, codes=("scp:LAO/LAE", "scp:PRC(S)")),
        ),
    )


def challenge(folder: Path) -> Example:
    def one(name: str, signal: NDArray[np.int16], gain: int, dx: str, sex: str, age: str, group: str) -> None:
        import scipy.io

        place = folder / "training" / group
        place.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(place / f"{name}.mat", {"val": signal}, format="4")
        lines = [f"{name} 12 500 {signal.shape[1]}"]
        lines += [f"{name}.mat 16+24 {gain}/mV 16 0 {int(r[0])} 0 0 {n}" for r, n in zip(signal, STANDARD_LEADS, strict=True)]
        lines += [f"#Age: {age}", f"#Sex: {sex}", f"#Dx: {dx}", "#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown"]
        (place / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")

    signals = [beat(10 + i) for i in range(7)]
    one("HR00002", signals[0], 200, "426783006", "Male", "19", "ptb-xl/g1")  # the gain of the first release
    one("A0001", signals[1], 1000, "RBBB", "Female", "74", "cpsc_2018/g1")  # words of the first release
    one("Q0001", signals[2], 1000, "164867002,427084000", "Male", "NaN", "cpsc_2018_extra/g1")
    one("JS10646", signals[3], 1000, "426177001", "Male", "66", "chapman_shaoxing/g1")
    one("JS10647", signals[4], 1000, "426177001,164934002", "Female", "66", "ningbo/g1")
    one("I0001", signals[5], 1000, "164884008", "F", "65", "st_petersburg_incart/g1")
    one("E00001", signals[6], 4880, "270492004", "Female", "NaN", "georgia/g1")  # its integers are microvolts all the same
    (folder / "PTBXL").mkdir()
    table(folder / "PTBXL" / "ptbxl_database.csv", [{"ecg_id": 2, "patient_id": 13243.0, "scp_codes": "{}"}])

    def planted(name: str, k: int, codes: str, sex: str, age: float | None, **more: str) -> Planted:
        return Planted(
            name,
            more.get("patient", name),
            signals[k],
            age=age,
            sex=sex,
            codes=tuple(f"snomed:{c}" for c in codes.split(",")),
            same_as=more.get("same_as"),
        )

    return Example(
        folder / "training",
        (
            planted("chapman:JS10646", 3, "426177001", "male", 66),
            planted("cpsc2018:A0001", 1, "59118001", "female", 74),
            planted("cpsc2018-extra:Q0001", 2, "164867002,427084000", "male", None),
            planted("georgia:E00001", 6, "270492004", "female", None),
            planted("ningbo:JS10647", 4, "426177001,164934002", "female", 66),
            planted("challenge-ptbxl:HR00002", 0, "426783006", "male", 19, patient="ptbxl:13243", same_as="ptbxl:2"),
            planted("incart:I0001", 5, "164884008", "female", 65),
        ),
        Choice(extra=str(folder / "PTBXL")),
    )


def mimic(folder: Path) -> Example:
    signals = [beat(20 + i) for i in range(3)]
    ids = (("10000032", "40689238"), ("10000032", "44458630"), ("10000117", "45090959"))
    rows: list[dict[str, object]] = []
    words: list[dict[str, object]] = []
    stays: list[dict[str, object]] = []
    reports = (("Sinus rhythm", "Left atrial enlargement"), ("Atrial fibrillation", ""), ("Normal ECG", ""))
    diagnoses = ("['I2109', 'R4182']", "[]", "['I4510']")
    for (subject, study), signal, report, diagnosis in zip(ids, signals, reports, diagnoses, strict=True):
        path = f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
        put(folder / f"{path}.hea", signal, leads=MIMIC_LEADS)
        rows.append(
            {"subject_id": subject, "study_id": study, "file_name": study, "ecg_time": "2180-07-23 08:44:00", "path": path}
        )
        cells = {f"report_{i}": report[i] if i < len(report) else "" for i in range(18)}
        words.append(
            {"subject_id": subject, "study_id": study, "cart_id": 6848296, "ecg_time": "", **cells, "rr_interval": 659}
        )
        stays.append(
            {
                "file_name": path,
                "study_id": study,
                "subject_id": subject,
                "all_diag_hosp": "[]",
                "all_diag_all": diagnosis,
                "gender": "F",
                "age": 52.0,
                "strat_fold": 17,
            }
        )
    rows.append(
        {"subject_id": "1", "study_id": "2", "file_name": "2", "ecg_time": "", "path": "files/p1/p1/s2/2"}
    )  # never downloaded
    table(folder / "record_list.csv", rows)
    table(folder / "machine_measurements.csv", words)
    table(folder / "records_w_diag_icd10.csv", stays)
    codes = (
        ("statement:sinus_rhythm", "statement:lae", "icd10:I2109", "icd10:R4182"),
        ("statement:atrial_fibrillation",),
        ("statement:normal_ecg", "icd10:I4510"),
    )
    planted = (
        Planted(
            f"mimic:{study}",
            f"mimic:{subject}",
            signal,
            age=52,
            sex="female",
            fold=17,
            codes=c,
            text="\n".join(w for w in report if w),
        )
        for (subject, study), signal, c, report in zip(ids, signals, codes, reports, strict=True)
    )
    return Example(folder, tuple(planted), failed=("mimic:2",))


def code15(folder: Path) -> Example:
    import h5py

    signals = [beat(30 + i, n) for i, n in ((0, 4000), (1, 2800))]
    folder.mkdir(parents=True, exist_ok=True)
    padded = np.zeros((3, 4096, 12), np.float32)
    for row, signal in zip((1, 0), signals, strict=True):  # not in the order of the table
        start = (4096 - signal.shape[1]) // 2
        padded[row, start : start + signal.shape[1]] = signal.T / 100  # 1e-4 V
    with h5py.File(folder / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = np.array([72, 71, 0])  # the real parts end with a row that is nobody's
        file["tracings"] = padded
    classes = dict.fromkeys(("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"), False)
    other = {"nn_predicted_age": 40.1, **classes, "death": "", "timey": ""}

    def exam(name: int, part: int, **more: object) -> dict[str, object]:
        about = {"exam_id": name, "age": 61, "is_male": False, **other, "patient_id": 6, "normal_ecg": True}
        return {**about, "trace_file": f"exams_part{part}.hdf5", **more}

    first = exam(71, 0, age=38, is_male=True, RBBB=True, AF=True, patient_id=5, normal_ecg=False)
    table(folder / "exams.csv", [first, exam(72, 0), exam(73, 1), exam(74, 0)])
    return Example(
        folder,
        (
            Planted(
                "code15:71",
                "code15:5",
                signals[0],
                400.0,
                age=38,
                sex="male",
                codes=("snomed:59118001", "snomed:164889003"),
                labels=("RBBB", "AF"),
            ),
            Planted(
                "code15:72", "code15:6", signals[1], 400.0, age=61, sex="female", codes=("statement:normal_ecg",), labels=()
            ),
        ),
        failed=("code15:74",),
        absent=("exams_part1.hdf5",),
    )


def sph(folder: Path) -> Example:
    import h5py

    signals = [beat(40 + i, 500) for i in range(2)]
    (folder / "records").mkdir(parents=True)
    for name, signal in zip(("A00001", "A00002"), signals, strict=True):
        with h5py.File(folder / "records" / f"{name}.h5", "w") as file:
            file["ecg"] = (signal / 1000).astype(np.float32)
    names = ("ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex", "N", "Date")
    cells = (
        ("A00001", "22;60+310", "S00001", 55, "M", 500, "2020-03-04"),
        ("A00002", "1", "S00002", 32, "F", 500, "2019-09-03"),
        ("A00003", "1", "S00002", 32, "F", 500, "2019-09-03"),
    )
    table(folder / "metadata.csv", [dict(zip(names, row, strict=True)) for row in cells])
    return Example(
        folder,
        (
            Planted("sph:A00001", "sph:S00001", signals[0], age=55, sex="male", codes=("aha:22", "aha:60")),
            Planted("sph:A00002", "sph:S00002", signals[1], age=32, sex="female", codes=("aha:1",)),
        ),
        failed=("sph:A00003",),
    )


def ludb(folder: Path) -> Example:
    signal = beat(50)
    put(folder / "data" / "1.hea", signal)
    empty = ("Extrasystolies", "Cardiac pacing", "Non-specific repolarization abnormalities", "Other states")
    row: dict[str, object] = {"ID": 1, "Sex": "F\n", "Age": "51\n", "Rhythms": "Sinus bradycardia"}
    row |= {
        "Electric axis of the heart": "Electric axis of the heart: left axis deviation",
        "Conduction abnormalities": "Iii degree av-block",
    }
    row |= {
        "Hypertrophies": "Left atrial hypertrophy\nLeft ventricular hypertrophy",
        "Ischemia": "Scar formation: inferior wall\nStemi: septal",
    }
    table(folder / "ludb.csv", [row | dict.fromkeys(empty, "")])
    codes = ("statement:sinus_bradycardia", "statement:axis_left", "statement:complete_av_block")
    codes += ("statement:lae", "statement:lvh", "scp:IMI", "snomed:57054005")
    return Example(folder, (Planted("ludb:1", "ludb:1", signal, age=51, sex="female", codes=codes),))


def yang(folder: Path) -> Example:
    signals = [beat(60 + i) for i in range(2)]
    for name, signal in zip(("0001", "0002"), signals, strict=True):
        put(folder / "ecg" / f"{name}.hea", signal)
    off = dict.fromkeys(("HEH", "IAVB", "IRBBB", "CRBBB", "LAFB"), 0)
    table(
        folder / "label.csv",
        [{"name": "0001", **off, "HEH": 1, "IRBBB": 1}, {"name": "0002", **off, "LAFB": 1}, {"name": "0003", **off}],
    )
    return Example(
        folder,
        (
            Planted("yang:0001", "yang:0001", signals[0], codes=("snomed:266249003", "scp:IRBBB"), labels=("HEH", "IRBBB")),
            Planted("yang:0002", "yang:0002", signals[1], codes=("scp:LAFB",), labels=("LAFB",)),
        ),
        failed=("yang:0003",),
    )


def folder(place: Path) -> Example:
    signals = [beat(70 + i) for i in range(3)]
    place = place / "ward"
    put(place / "a.hea", signals[0])
    put(place / "sub" / "b.hea", signals[1])
    put(place / "unlabelled.hea", signals[2])
    lines: list[dict[str, object]] = [
        {"file_name": "a.hea", "label": "STEMI", "ICD-10": "I21.0", "patient": "p1", "target:lvef": 45},
        {"file_name": "b", "label": "normal", "ICD-10": "", "patient": "p2", "target:lvef": 60.5},
        {"file_name": "a.hea", "label": "AF|old", "ICD-10": "", "patient": "p1", "target:lvef": 45},  # several rows of one file
        {"file_name": "gone.hea", "label": "normal", "ICD-10": "", "patient": "p3", "target:lvef": ""},
    ]
    table(place / "labels.csv", lines, ";")
    return Example(
        place,
        (
            Planted("ward:a.hea", "ward:p1", signals[0], codes=("icd10:I21.0",), labels=("STEMI", "AF", "old")),
            Planted("ward:sub/b.hea", "ward:p2", signals[1], labels=("normal",)),
        ),
        failed=("gone.hea",),
        absent=("unlabelled.hea",),
    )


def segments(place: Path) -> Example:
    signals = [beat(80 + i, 600)[:1] for i in range(3)]
    path = place / "df_segment2.csv"
    place.mkdir(parents=True, exist_ok=True)
    cells = [",".join([*(f"{v / 1000:.3f}" for v in s[0]), str(y)]) for s, y in zip(signals, (1, 0, 2), strict=True)]
    path.write_text(",".join([*map(str, range(600)), "label"]) + "\n" + "\n".join(cells) + "\n", encoding="utf-8")
    return Example(
        path,
        tuple(
            Planted(f"df_segment2:{line}", f"df_segment2:{line}", s, 100.0, ("I",), labels=y)
            for line, s, y in zip((2, 3), signals, (("1",), ()), strict=False)
        ),
        Choice(fs=100.0, unit="mV"),
        failed=("line 4",),
    )


EXAMPLES: dict[str, Callable[[Path], Example]] = {
    f.__name__: f for f in (ptbxl, challenge, mimic, code15, sph, ludb, yang, folder, segments)
}
