"""Our WFDB reader gives what wfdb gives, to the last bit; and what wfdb cannot read is read or refused in words."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import wfdb as oracle
from io_examples import EXAMPLES

from einthoven.io import Options, read, write
from einthoven.io.files import DiskFile
from einthoven.io.wfdb import WFDB
from einthoven.record import EcgError, Patient, Record

PATTERNS = (
    ("ptbxl/records100/0000?/*.hea", 12),
    ("ptbxl/records500/0000?/*.hea", 12),
    ("ludb/data/*.hea", 3),
    ("challenge/*/*.hea", 2),
    ("formats/wfdb/*.hea", 1),
    ("formats/wfdb/multi-segment/*/*.hea", 1),
    ("formats/ge-muse-xml/*.hea", 1),
)
# Companions are not in the folder, layout headers, or no voltage: ours refuses these in words.
REFUSED = {"1003", "12726", "drive02", "drive02-no-len", "n16", "n8_evoked_raw_95_F1_R9", "test01_00s", "test01_00s_frame"}
REFUSED |= {"test01_00s_skew", "test01_00s_skewframe", "v102s", "wave_4", "3269321_0001", "p000878-2137-10-26-16-57"}


def expected(path: Path) -> dict[str, np.ndarray]:
    """wfdb's samples of each signal, in mV, as float32."""
    theirs = oracle.rdrecord(str(path)[:-4], smooth_frames=False)
    out = {}
    for i, name in enumerate(theirs.sig_name):
        values = np.asarray(theirs.e_p_signal[i])
        if theirs.units[i].lower() == "uv":
            values = values * 1e-3
        out[name or f"signal {i}"] = values.astype(np.float32)
    return out


@pytest.mark.parametrize(("pattern", "every"), PATTERNS, ids=[p for p, _ in PATTERNS])
def test_equal_to_wfdb_to_the_last_bit(pattern: str, every: int, shared_data: Path) -> None:
    compared = 0
    for path in sorted(shared_data.glob(pattern))[::every]:
        try:
            ours = WFDB.read(DiskFile(path), Options())
        except EcgError:
            assert path.stem in REFUSED or "multi-segment/s" in str(path) or "layout" in path.stem, path
            continue
        if path.read_text("latin-1").split()[0].endswith(".mat"):
            continue  # "E00001.mat 12 500 5000": wfdb refuses this record line
        theirs = expected(path)
        for lead, row in zip(ours.leads, ours.signal, strict=True):
            assert np.array_equal(row, theirs[lead], equal_nan=True), f"{path} {lead}"
        compared += 1
    assert compared


def test_headers_that_break_other_readers(shared_data: Path) -> None:
    path = shared_data / "challenge/E/E00001.hea"
    with pytest.raises(Exception, match="record line"):
        oracle.rdrecord(str(path)[:-4])
    record = read(path)
    assert len(record.leads) == 12 and record.fs == 500 and record.signal.shape[1] == 5000
    assert record.patient.sex == "female" and record.patient.age is None
    assert any("amplitude" in w for w in record.warnings)  # its gain is 24 times what it should be


def test_comments_become_patient_and_statements(shared_data: Path) -> None:
    record = read(shared_data / "ludb/data/1.hea")
    assert record.patient.age == 51 and record.patient.sex == "female"
    assert record.statements[0] == "Rhythm: Sinus bradycardia."
    old = read(shared_data / "formats/wfdb/100.hea")
    assert old.patient.age == 69 and old.patient.sex == "male" and old.leads == ("V5", "MLII")
    ptb = read(shared_data / "formats/wfdb/s0010_re.hea")
    assert ptb.patient.age == 81 and ptb.patient.sex == "female" and "Myocardial infarction" in ptb.statements


def test_codes_of_the_challenges(tmp_path: Path) -> None:
    record = read(EXAMPLES["wfdb"][2](tmp_path))
    assert record.codes == ("426783006", "427084000")
    assert record.patient.age == 63 and record.patient.sex == "female"
    assert record.start == datetime(2021, 3, 4, 5, 6, 7)


HEADERS = {
    "signals": "r 4000 250 10\n",
    "no such format": "r 1 250 10\nr.dat 17 1000/mV 16 0 0 0 0 I\n",
    "terabytes": "r 1 250 999999999999\nr.dat 16 1000/mV 16 0 0 0 0 I\n",
    "rate": "r 1 -250 10\nr.dat 16 1000/mV 16 0 0 0 0 I\n",
    "no rate": "r 1 0 10\nr.dat 16 1000/mV 16 0 0 0 0 I\n",
    "gain": "r 1 250 10\nr.dat 16 1e999/mV 16 0 0 0 0 I\n",
    "frames": "r 1 250 10\nr.dat 16x99999999 1000/mV 16 0 0 0 0 I\n",
    "offset": "r 1 250 10\nr.dat 16+99999999 1000/mV 16 0 0 0 0 I\n",
    "skew": "r 1 250 10\nr.dat 16:99999999999 1000/mV 16 0 0 0 0 I\n",
    "network": "r 1 250 10\nhttps://physionet.org/x.dat 16 1000/mV 16 0 0 0 0 I\n",
    "segments": "r/3 1 250 10\nr 10\n",
    "itself": "r/1 1 250 10\nr 10\n",
    "lies": "r/2 1 250 99999999\nr1 1\nr2 99999998\n",
    "lines": "r 3 250 10\nr.dat 16 1000/mV 16 0 0 0 0 I\n",
    "flac": "r 1 250 10\nr.dat 516 1000/mV 16 0 0 0 0 I\n",
}


@pytest.mark.parametrize("fault", HEADERS)
def test_headers_that_lie_are_refused(fault: str, tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(bytes(20))
    (tmp_path / "r.hea").write_text(HEADERS[fault])
    with pytest.raises(EcgError) as caught:
        read(tmp_path / "r.hea")
    assert caught.value.path and Path(caught.value.path).stem == "r"


def test_wfdb_reads_what_we_write(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    signal = (rng.integers(-3000, 3000, (3, 777)) / 1000).astype(np.float32)
    signal[1, 5:9] = np.nan
    record = Record(signal, 257.0, ("I", "II", "V1"), patient=Patient(age=70.5, sex="male"), resolution_uv=(1.0, 1.0, 1.0))
    header, _ = write(record, tmp_path / "back.hea")
    theirs = oracle.rdrecord(str(header)[:-4])
    assert np.array_equal(theirs.p_signal.T.astype(np.float32), signal, equal_nan=True)
    assert theirs.fs == 257 and theirs.sig_name == ["I", "II", "V1"]
    digital = oracle.rdrecord(str(header)[:-4], physical=False)
    assert theirs.checksum == [int(c) for c in digital.calc_checksum()] or [
        (int(a) - int(b)) % 65536 for a, b in zip(theirs.checksum, digital.calc_checksum(), strict=True)
    ] == [0, 0, 0]


def test_the_first_release_of_the_challenge_is_measured_in_the_millivolts_that_were_meant(shared_data: Path) -> None:
    # S0001 of the Challenge is s0010_re of PTB, whose own header is right.
    stated = read(shared_data / "challenge" / "S" / "S0001.hea")
    truth = read(shared_data / "formats" / "wfdb" / "s0010_re.hea").pick(stated.leads)
    meant = stated.ecg()
    assert any("known fault" in words for words in stated.warnings)
    assert np.abs(stated.signal).max() < 0.005
    assert np.abs(meant.signal - truth.signal).max() <= 0.001  # whole microvolts against half ones, and PTB's rounding
    assert meant.ecg() is meant
    # Georgia's first release: MUSE's steps of 4.88 uV, cut to whole microvolts. So an integer is a microvolt.
    georgia = read(shared_data / "challenge" / "E" / "E00004.hea").ecg()
    assert georgia.resolution_uv == pytest.approx([1.0] * 12)
    levels = {int(v) for v in np.round(georgia.lead("V2") * 1000)}
    assert len(levels) > 50 and levels <= {int(4.88 * k) for k in range(-2000, 2000)}
    # PTB-XL's records in it: 200/mV over the integers for which PTB-XL itself says 1000.
    own = read(shared_data / "ptbxl" / "records500" / "00000" / "00001_hr.hea")
    theirs = read(shared_data / "challenge" / "HR" / "HR00001.hea")
    assert np.abs(theirs.signal - 5 * own.signal).max() < 1e-5
    assert np.abs(theirs.ecg().signal - own.pick(theirs.leads).signal).max() < 1e-6
