"""An example of every file format: made here with a known truth, or named in the shared data, for test_io_contract.py.

`EXAMPLES[format]` are functions `(folder) -> path` that make a file from `truth()`; `SHARED[format]` are patterns below
../shared/data of files that must be read; `REFUSED` are patterns of files that must be refused with one clear error.
"""

from __future__ import annotations

import struct
import zipfile
from binascii import crc_hqx
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from einthoven.io import write
from einthoven.record import STANDARD_LEADS, Device, Patient, Record

FS = 250.0


def truth(seconds: float = 4.0, fs: float = FS, seed: int = 0) -> Record:
    """Twelve leads on a grid of 1 µV that obey Einthoven's law exactly (I and II are even, so aVR, aVL and aVF are whole)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * fs)) / fs
    beat = (time - 0.3) % 0.8 - 0.25
    wave = np.zeros_like(time)
    for height, center, width in (
        (120, -0.16, 0.025),
        (-90, -0.025, 0.008),
        (1100, 0, 0.011),
        (-220, 0.03, 0.01),
        (260, 0.24, 0.05),
    ):
        wave += height * np.exp(-0.5 * ((beat - center) / width) ** 2)
    even = 2 * np.rint(np.outer([0.35, 0.5], wave) + rng.normal(0, 4, (2, len(time)))).astype(int)
    one, two = even
    chest = np.rint(np.outer([-0.4, 0.5, 0.9, 1.4, 1.2, 0.9], wave) + rng.normal(0, 8, (6, len(time)))).astype(int)
    limb = [one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2]
    digital = np.vstack([limb, chest])
    return Record(
        signal=(digital / 1000).astype(np.float32),
        fs=fs,
        leads=STANDARD_LEADS,
        start=datetime(2021, 3, 4, 5, 6, 7),
        patient=Patient(id="P-17", name="Doe Jane", age=63.0, sex="female", birth_date="1958-01-02", height_cm=170.0),
        device=Device(manufacturer="Acme", model="Ten", serial="S/N 1", institution="St. Elsewhere", highpass_hz=0.05),
        statements=("Sinus rhythm", "Normal ECG"),
        codes=("426783006",),
        resolution_uv=(1.0,) * 12,
    )


def micro(record: Record) -> np.ndarray:
    """The truth in whole µV, (L, T) int16."""
    return np.rint(record.signal.astype(np.float64) * 1000).astype(np.int16)


def written(name: str) -> Callable[[Path], Path]:
    """What our own writer makes of the truth."""
    return lambda folder: write(truth(), folder / name)[0]


def zipped(folder: Path) -> Path:
    inner = folder / "inner"
    inner.mkdir(exist_ok=True)
    path = folder / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for file in write(truth(), inner / "a.hea"):
            out.write(file, f"deep/{file.name}")
        out.writestr("README.md", "two files make one record")
    return path


def renamed(folder: Path) -> Path:
    """Content decides: an NPZ under another name."""
    return write(truth(), folder / "record.npz")[0].rename(folder / "renamed.bin")


def plain_npz(folder: Path) -> Path:
    np.savez(folder / "plain.npz", ecg=micro(truth()).T, fs=FS, lead_names=np.array(STANDARD_LEADS), unit="uV")
    return folder / "plain.npz"


def mat4(folder: Path) -> Path:
    import scipy.io

    scipy.io.savemat(folder / "four.mat", {"val": micro(truth()), "fs": FS, "unit": "uV"}, format="4")
    return folder / "four.mat"


def mat5(folder: Path) -> Path:
    import scipy.io

    held = {"ecg": {"data": micro(truth()), "fs": FS, "unit": "uV", "leads": np.array(STANDARD_LEADS, object)}}
    scipy.io.savemat(folder / "five.mat", held, do_compression=True)
    return folder / "five.mat"


def mat5_plain(folder: Path) -> Path:
    import scipy.io

    scipy.io.savemat(folder / "plain.mat", {"val": micro(truth()).T.astype(float), "fs": FS, "units": "uV"})
    return folder / "plain.mat"


def hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "some.h5", "w") as out:
        out.create_dataset("rec/ecg", data=micro(truth()), compression="gzip")
        out["rec/ecg"].attrs["fs"] = FS
        out["rec/ecg"].attrs["unit"] = "uV"
        out["rec/ecg"].attrs["leads"] = list(STANDARD_LEADS)
    return folder / "some.h5"


def hdf5_many(folder: Path) -> Path:
    """As CODE-15% has it: (record, time, lead)."""
    import h5py

    with h5py.File(folder / "many.hdf5", "w") as out:
        out["tracings"] = np.stack([truth(seed=i).signal.T for i in range(2)])
        out.attrs["sampling_rate"] = FS
        out.attrs["unit"] = "mV"
    return folder / "many.hdf5"


def mat73(folder: Path) -> Path:
    """What MATLAB 7.3 writes: HDF5 behind 512 bytes of its own, matrices on their side, texts as columns of codes."""
    import h5py

    path = folder / "seven.mat"
    with h5py.File(path, "w", userblock_size=512) as out:
        out["val"] = micro(truth()).astype(float).T
        out["fs"] = np.array([[FS]])
        out["unit"] = np.array([[ord(c)] for c in "uV"], np.uint16)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\x00\x02IM")
    return path


def parquet_rows(folder: Path) -> Path:
    """A row per ECG, the signal a nested list."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"signal": [truth().signal.tolist()], "fs": [FS], "unit": ["mV"], "leads": [list(STANDARD_LEADS)]})
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def csv_rows(folder: Path) -> Path:
    lines = [f"{n}," + ",".join(map(str, row)) for n, row in zip(STANDARD_LEADS, micro(truth()).tolist(), strict=True)]
    (folder / "rows.csv").write_text("# fs=250\n# unit: uV\n" + "\n".join(lines) + "\n")
    return folder / "rows.csv"


def csv_german(folder: Path) -> Path:
    """Semicolons, decimal comma, a time column in ms, CRLF."""
    lines = ["Zeit [ms];" + ";".join(f"{n} [mV]" for n in STANDARD_LEADS)]
    for i, row in enumerate(truth().signal.T.tolist()):
        lines.append(f"{4 * i};" + ";".join(f"{v:.3f}".replace(".", ",") for v in row))
    (folder / "deutsch.csv").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")
    return folder / "deutsch.csv"


def text_blanks(folder: Path) -> Path:
    body = "\n".join(" ".join(map(str, row)) for row in micro(truth()).T.tolist())
    (folder / "blanks.txt").write_text(f"Sampling rate: 250 Hz\nunits: uV\n\n{body} \n")
    return folder / "blanks.txt"


def ishne(folder: Path) -> Path:
    """A Holter file by hand: 3 leads, 2.5 µV per step."""
    digital = (micro(truth())[:3] / 2.5).round().astype("<i2")
    fixed = bytearray(512)
    struct.pack_into("<iiiih", fixed, 0, 8, digital.shape[1], 522, 530, 1)
    fixed[18:23], fixed[58:61], fixed[98:102] = b"Jane\0", b"Doe", b"P-17"
    struct.pack_into("<hh", fixed, 118, 2, 1)
    struct.pack_into("<3h3h3h3h", fixed, 122, 2, 1, 1958, 4, 3, 2021, 4, 3, 2021, 5, 6, 7)
    struct.pack_into("<h12h12h12h", fixed, 146, 3, 5, 6, 7, *[-9] * 9, *[0] * 12, *[2500] * 3, *[-9] * 9)
    fixed[222:225] = b"Ten"
    struct.pack_into("<h", fixed, 262, int(FS))
    head = bytes(fixed) + b"variable"
    path = folder / "holter.ecg"
    path.write_bytes(b"ISHNE1.0" + struct.pack("<H", crc_hqx(head, 0xFFFF)) + head + digital.T.tobytes())
    return path


def bdf(folder: Path) -> Path:
    """24 bits by hand: two ECG channels of 100 nV per step, and the status channel."""
    digital = micro(truth())[:2].astype("<i4") * 10
    blocks, per = 4, int(FS)
    names = ("ECG I", "ECG II", "Status")
    columns = [
        (n, "", "uV" if n != "Status" else "", "-838860", "838860", "-8388600", "8388600", "HP: 0.05Hz", str(per), "")
        for n in names
    ]
    head = b"\xffBIOSEMI" + b"X F X X".ljust(80) + b"Startdate 04-MAR-2021 X X Ten".ljust(80) + b"04.03.2105.06.07"
    head += b"1024".ljust(8) + b"24BIT".ljust(44) + str(blocks).encode().ljust(8) + b"1".ljust(8) + b"3".ljust(4)
    for f, size in enumerate((16, 80, 8, 8, 8, 8, 8, 80, 8, 32)):
        head += b"".join(c[f].encode().ljust(size) for c in columns)
    body = b""
    for b in range(blocks):
        for row in (*digital, np.zeros(digital.shape[1], "<i4")):
            part = np.ascontiguousarray(row[b * per : (b + 1) * per]).view("u1").reshape(-1, 4)[:, :3]
            body += part.tobytes()
    path = folder / "biosemi.bdf"
    path.write_bytes(head + body)
    return path


def wfdb_212(folder: Path) -> Path:
    """Format 212 through wfdb itself."""
    import wfdb

    digital = (micro(truth())[[0, 1]] // 2).T.astype(int)
    wfdb.wrsamp(
        "two12", fs=FS, units=["mV"] * 2, sig_name=["I", "II"], d_signal=digital, fmt=["212"] * 2, adc_gain=[500.0] * 2,
        baseline=[0] * 2, write_dir=str(folder),
    )  # fmt: skip
    return folder / "two12.hea"


def challenge(folder: Path) -> Path:
    """A PhysioNet Challenge record: MATLAB 4 matrix, header that says where its numbers begin."""
    import scipy.io

    digital = micro(truth())
    scipy.io.savemat(folder / "A0001.mat", {"val": digital}, format="4")
    lines = [f"A0001 12 250 {digital.shape[1]} 04-Mar-2021 05:06:07"]
    for name, row in zip(STANDARD_LEADS, digital, strict=True):
        lines.append(f"A0001.mat 16+24 1000/mV 16 0 {row[0]} 0 0 {name}")
    lines += ["#Age: 63", "#Sex: Female", "#Dx: 426783006,427084000", "#Rx: Unknown"]
    (folder / "A0001.hea").write_text("\n".join(lines) + "\n")
    return folder / "A0001.hea"


def bare_npy(folder: Path) -> Path:
    """Numbers and nothing else: a rate and a unit have to be given."""
    np.save(folder / "bare.npy", micro(truth()))
    return folder / "bare.npy"


EXAMPLES: dict[str, list[Callable[[Path], Path]]] = {
    "wfdb": [written("record.hea"), wfdb_212, challenge],
    "edf": [written("record.edf"), bdf],
    "ishne": [ishne],
    "csv": [written("record.csv"), written("record.tsv"), csv_rows, csv_german, text_blanks],
    "npy": [bare_npy],
    "npz": [written("record.npz"), plain_npz, renamed],
    "mat": [mat4, mat5, mat5_plain],
    "hdf5": [hdf5, hdf5_many, mat73],
    "parquet": [written("record.parquet"), parquet_rows],
    "zip": [zipped],
}


# Files that say no rate or unit themselves: read with these options.
OPTIONS = {"bare.npy": {"fs": FS, "unit": "uV"}, "testing_ecg.txt": {"fs": 500.0, "unit": "uV"}}

SHARED: dict[str, list[str]] = {
    "wfdb": [
        "ptbxl/records100/00000/0000*_lr.hea",
        "ludb/data/1?.hea",
        "challenge/*/*.hea",
        "formats/wfdb/100.hea",
        "formats/wfdb/100[-_s]*.hea",
        "formats/wfdb/*flac*.hea",
        "formats/wfdb/31*derive*.hea",
        "formats/wfdb/a103l*.hea",
        "formats/wfdb/binformats.hea",
        "formats/wfdb/mixedsignals.hea",
        "formats/wfdb/multi-segment/041s/041s.hea",
        "formats/wfdb/multi-segment/fixed1/v102s.hea",
        "formats/wfdb/s0010_re.hea",
        "formats/wfdb/03700181.hea",
    ],
    "muse": ["formats/ge-muse-xml/*.xml"],
    "sierra": ["formats/philips-sierra-xml/*_orig.xml", "formats/philips-sierra-xml/129DYPRG.XML"],
    "aecg": ["formats/hl7-aecg/hl7aecg_example.xml", "formats/hl7-aecg/Example aECG.xml"],
    "scp": ["formats/scp-ecg/*.scp"],
    "dicom": ["formats/dicom/*.dcm"],
    "ishne": ["formats/ishne/*.ecg"],
    "csv": ["formats/csv-txt/*.txt"],
}

# Not ECG, or not there in whole: one EcgError each.
REFUSED: list[str] = [
    "formats/hl7-aecg/empty.xml",
    "formats/philips-sierra-xml/invalid*.xml",
    "formats/scp-ecg-heal-force-variant/*",
    "formats/edf-bdf/*",
    "formats/ishne/*.ann",
    "formats/wfdb/1003.hea",
    "formats/wfdb/n16.hea",
    "formats/wfdb/*.wav",
    "formats/wfdb/*.atr",
    "formats/wfdb/multi-segment/s25047/*.hea",
    "formats/dicom-rendered-by-others/*",
    "ptbxl/*.csv",
    "ludb/ludb.csv",
    "images/printed-12-lead/*/*",
    "README.md",
]

# The clinical formats have their makers in a file of their own, which needs the truth above.
import io_examples_clinical as clinical  # noqa: E402

EXAMPLES |= clinical.EXAMPLES
SHARED |= clinical.SHARED
REFUSED += clinical.REFUSED
