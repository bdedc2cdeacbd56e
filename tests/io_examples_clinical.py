"""Examples of the clinical formats, made from `truth()` as the devices write them. Part of io_examples.EXAMPLES."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scp_encoder

from einthoven.io import write
from einthoven.record import STANDARD_LEADS, Record

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def truth() -> Record:
    from io_examples import truth

    return truth()


def micro(*leads: str) -> np.ndarray:
    """Whole µV of these leads (of all twelve without names), (L, T) int64."""
    record = truth()
    rows = record.signal if not leads else np.stack([record.lead(n) for n in leads])
    return np.rint(rows.astype(np.float64) * 1000).astype(np.int64)


def b64(samples: np.ndarray, width: int = 76) -> str:
    """Base64 of little-endian int16 in lines, as MUSE has it."""
    words = base64.b64encode(samples.astype("<i2").tobytes()).decode()
    return "\n".join(words[i : i + width] for i in range(0, len(words), width))


# -- GE MUSE -----------------------------------------------------------------------------------------------------------------


def muse_text(step_uv: float = 2.0, unit: str = "<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>") -> str:
    leads = ""
    for name, row in zip(EIGHT, micro(*EIGHT), strict=True):
        raw = np.rint(row / step_uv).astype("<i2")
        leads += (
            f"<LeadData><LeadByteCountTotal>{2 * len(raw)}</LeadByteCountTotal><LeadSampleCountTotal>{len(raw)}"
            f"</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>{step_uv}</LeadAmplitudeUnitsPerBit>{unit}<LeadID>{name}</LeadID>"
            f"<FirstSampleBaseline>0</FirstSampleBaseline><LeadSampleSize>2</LeadSampleSize><LeadOff>FALSE</LeadOff>"
            f"<LeadDataCRC32>{zlib.crc32(raw.tobytes())}</LeadDataCRC32><WaveFormData>\n{b64(raw)}\n</WaveFormData></LeadData>"
        )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n<RestingECG>'
        "<PatientDemographics><PatientID>P-17</PatientID><PatientAge>63</PatientAge><AgeUnits>YEARS</AgeUnits>"
        "<DateofBirth>01-02-1958</DateofBirth><Gender>FEMALE</Gender><PatientLastName>Müller</PatientLastName>"
        "<PatientFirstName>Jane</PatientFirstName></PatientDemographics><TestDemographics>"
        "<AcquisitionDate>03-04-2021</AcquisitionDate><AcquisitionTime>05:06:07</AcquisitionTime></TestDemographics>"
        "<RestingECGMeasurements><VentricularRate>75</VentricularRate><PRInterval>160</PRInterval></RestingECGMeasurements>"
        "<Diagnosis><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>Normal sinus rhythm</StmtText>"
        "</DiagnosisStatement></Diagnosis><Waveform><WaveformType>Rhythm</WaveformType><SampleBase>25</SampleBase>"
        f"<SampleExponent>1</SampleExponent><HighPassFilter>16</HighPassFilter>{leads}</Waveform></RestingECG>\n"
    )


def muse(folder: Path) -> Path:
    (folder / "muse.xml").write_bytes(muse_text().encode("latin-1"))
    return folder / "muse.xml"


# -- Philips -----------------------------------------------------------------------------------------------------------------


def lzw(data: bytes) -> bytes:
    """10-bit codes, first bit first, table full at 1022, no clear code."""
    table = {bytes((i,)): i for i in range(256)}
    codes, now = [], b""
    for value in data:
        more = now + bytes((value,))
        if more in table:
            now = more
            continue
        codes.append(table[now])
        if len(table) <= 1022:
            table[more] = len(table)
        now = bytes((value,))
    codes.append(table[now])
    bits = "".join(format(c, "010b") for c in codes) + "1111111111"
    return scp_encoder.packed(bits)


def xli(rows: np.ndarray) -> bytes:
    """The recorder's compression: second differences, high bytes before low bytes, LZW."""
    out = b""
    for x in rows.astype(np.int64):
        last = 2 * x[1:-1] - x[:-2] - x[2:]
        steps = np.concatenate([x[:2], last[1:] + 64, [64]]).astype(np.int16)
        raw = steps.view(np.uint16)
        packed = lzw((raw >> 8).astype(np.uint8).tobytes() + (raw & 255).astype(np.uint8).tobytes())
        out += struct.pack("<ihh", len(packed), 0, int(last[0])) + packed
    return out


def sierra_text(version: str = "1.04", compression: str = "XLI") -> str:
    rows = micro(*STANDARD_LEADS)
    one, two, three, avr, avl, avf = rows[:6]
    if compression == "XLI":
        left = [two - one - three, -avr - (one + two) // 2, (one - three) // 2 - avl, (two + three) // 2 - avf]
        data = xli(np.vstack([rows[:2], left, rows[6:]]))
    else:
        data = rows.astype("<i2").tobytes()
    duration = round(1000 * rows.shape[1] / truth().fs)
    old = version == "1.03"
    prefix = "signal" if old else ""
    method = "" if compression != "XLI" else f' {"compressmethod" if old else "compression"}="XLI"'
    named = "" if old else f' numberofleads="12" leadlabels="{" ".join(STANDARD_LEADS)}" resolution="1" samplespersecond="250"'
    return (
        '<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo><documenttype>'
        f"{'SierraECG' if old else 'PhilipsECG'}</documenttype><documentversion>{version}</documentversion></documentinfo>"
        '<dataacquisition date="2021-03-04" time="05:06:07"><machine machineid="X1">PageWriter</machine><signalcharacteristics>'
        f"<samplingrate>250</samplingrate><{prefix}resolution>1</{prefix}resolution>"
        "<acquisitiontype>STD-12</acquisitiontype><numberchannelsallocated>12</numberchannelsallocated></signalcharacteristics>"
        "</dataacquisition><patient><generalpatientdata><patientid>P-17</patientid><age><dateofbirth>1958-01-02</dateofbirth></age>"
        "<sex>Female</sex></generalpatientdata></patient><waveforms>"
        f'<parsedwaveforms dataencoding="Base64"{method} durationperchannel="{duration}"{named}>'
        f"{base64.b64encode(data).decode()}</parsedwaveforms></waveforms></restingecgdata>"
    )


def sierra(folder: Path) -> Path:
    (folder / "sierra.xml").write_text('<?xml version="1.0" encoding="utf-16"?>\n' + sierra_text(), encoding="utf-16")
    return folder / "sierra.xml"


def sierra_plain(folder: Path) -> Path:
    (folder / "plain.xml").write_text(sierra_text("1.03", "none"), encoding="utf-8-sig")
    return folder / "plain.xml"


# -- HL7 aECG ----------------------------------------------------------------------------------------------------------------


def megacare(folder: Path) -> Path:
    """The same tree with other codes, the time sequence last, in ms, an origin, and mV."""
    leads = "".join(
        f'<component><sequence><code code="NOM_ECG_LEAD_{n.upper()}"/><value xsi:type="SLIST_PQ">'
        '<origin value="0.5" unit="mV"/>'
        f'<scale value="0.001" unit="mV"/><digits>{" ".join(str(v - 500) for v in row)}</digits></value></sequence></component>'
        for n, row in zip(STANDARD_LEADS, micro().tolist(), strict=True)
    )
    (folder / "megacare.xml").write_text(
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component><series>'
        f'<code code="ECG_RHYTHM_WAVEFORMS"/><component><sequenceSet>{leads}<component><sequence><code code="TIME_RELATIVE"/>'
        '<value xsi:type="GLIST_PQ"><head value="0" unit="ms"/><increment value="4" unit="ms"/></value></sequence></component>'
        "</sequenceSet></component></series></component></AnnotatedECG>"
    )
    return folder / "megacare.xml"


def aecg(folder: Path) -> Path:
    return write(truth(), folder / "annotated.xml", "aecg")[0]


# -- CardioSoft --------------------------------------------------------------------------------------------------------------


def wave(name: str, row: np.ndarray) -> str:
    """As CardioSoft breaks its lines: tabs, and a comma at the end of each."""
    lines = [",".join(map(str, row[i : i + 20])) for i in range(0, len(row), 20)]
    return f'<WaveformData lead="{name}">\n\t\t' + ",\n\t\t".join(lines) + "\n\t</WaveformData>"


CARDIOSOFT_HEAD = (
    "<ObservationDateTime><Hour>5</Hour><Minute>6</Minute><Second>7</Second><Day>4</Day><Month>3</Month><Year>2021</Year>"
    "</ObservationDateTime><ClinicalInfo><DeviceInfo><Desc>CardioSoft</Desc><SoftwareVer>V6.73</SoftwareVer></DeviceInfo>"
    '</ClinicalInfo><PatientInfo><PID>P-17</PID><Age units="years">63</Age><BirthDateTime><Day>2</Day><Month>1</Month>'
    '<Year>1958</Year></BirthDateTime><Gender>FEMALE</Gender><Height units="cm">170</Height></PatientInfo><FilterSetting>'
    '<Filter50Hz>yes</Filter50Hz><Filter60Hz>no</Filter60Hz><LowPass units="Hz">40</LowPass></FilterSetting>'
)


def cardiosoft(folder: Path) -> Path:
    rows = micro()
    waves = "".join(wave(n.upper(), row) for n, row in zip(STANDARD_LEADS, rows, strict=True))
    medians = "".join(wave(n, row[:200]) for n, row in zip(STANDARD_LEADS, rows, strict=True))
    facts = '<SampleRate units="Hz">250</SampleRate><Resolution units="uVperLsb">1</Resolution>'
    (folder / "rest.xml").write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE CardiologyXML SYSTEM "CardiologyXML.dtd">\n<CardiologyXML>'
        f"<ObservationType>RestECG</ObservationType>{CARDIOSOFT_HEAD}<Interpretation><Diagnosis><DiagnosisStatement>"
        "<StmtText>Sinus rhythm</StmtText></DiagnosisStatement></Diagnosis></Interpretation><RestingECGMeasurements>"
        '<VentricularRate units="BPM">75</VentricularRate><PQInterval units="ms">160</PQInterval><QTCInterval units="ms">400'
        f'</QTCInterval><RAxis units="degrees">60</RAxis><MedianSamples><NumberOfLeads>12</NumberOfLeads>{facts}{medians}'
        f"</MedianSamples></RestingECGMeasurements><StripData><NumberOfLeads>12</NumberOfLeads>{facts}"
        f"<ChannelSampleCountTotal>{rows.shape[1]}</ChannelSampleCountTotal>{waves}</StripData></CardiologyXML>",
        encoding="latin-1",
    )
    return folder / "rest.xml"


def exercise(folder: Path, *, blocks: bool = True) -> Path:
    rows = micro("I", "II", "V5")
    per = 250
    shaped = rows.reshape(3, -1, per)
    flat = (shaped.transpose(1, 0, 2) if blocks else rows.T).reshape(-1)
    text = ",\n\t\t".join(",".join(map(str, flat[i : i + 25])) for i in range(0, len(flat), 25))
    path = folder / f"exercise-{'blocks' if blocks else 'samples'}.xml"
    path.write_text(
        f"<CardiologyXML><ObservationType>ExerciseECG</ObservationType>{CARDIOSOFT_HEAD}<ExerciseMeasurements>"
        "<MaxHeartRate>150</MaxHeartRate></ExerciseMeasurements><StripData><NumberOfLeads>3</NumberOfLeads>"
        '<SampleRate units="Hz">250</SampleRate>'
        f'<Resolution units="uVperLsb">1</Resolution><Strip><Time><Minute>1</Minute></Time>{wave("I", rows[0][:500])}'
        f"{wave('II', rows[1][:500])}{wave('V5', rows[2][:500])}</Strip></StripData>"
        "<FullDisclosure><StartTime><Minute>0</Minute>"
        "<Second>0</Second></StartTime><NumberOfChannels>3</NumberOfChannels>"
        '<SampleRate units="Hz">250</SampleRate>'
        '<Resolution units="uVperLsb">1</Resolution><LeadOrder>I,II,V5</LeadOrder><FullDisclosureData>\n\t\t'
        f"{text},\n\t</FullDisclosureData></FullDisclosure></CardiologyXML>"
    )
    return path


def exercise_samples(folder: Path) -> Path:
    return exercise(folder, blocks=False)


# -- Mortara, Schiller, Zoncare ------------------------------------------------------------------------------------------------


def eli(folder: Path) -> Path:
    channels = "".join(
        f'<CHANNEL NAME="{n}" SAMPLE_FREQ="250" DURATION="{len(row)}" UNITS_PER_MV="500" OFFSET="7" BITS="16" FORMAT="SIGNED" '
        f'ENCODING="BASE64" DATA="{b64(row // 2 - 7)}"/>'
        for n, row in zip(EIGHT, micro(*EIGHT), strict=True)
    )
    cycle = "".join(
        f'<TYPICAL_CYCLE_CHANNEL NAME="{n}" DATA="{b64(row[:250])}"/>' for n, row in zip(EIGHT, micro(*EIGHT), strict=True)
    )
    (folder / "eli.xml").write_text(
        '<ECG ACQUISITION_TIME="20210304050607" NUM_QRS="5" VENT_RATE="75" AVERAGE_RR="800"><SOURCE TYPE="WAM" MODEL="ELI 280" '
        'MANUFACTURER="MORTARA" ACQUIRING_DEVICE_SERIAL_NUMBER="42" LOW_PASS_FILTER="150"/><DEMOGRAPHIC_FIELDS>'
        '<DEMOGRAPHIC_FIELD LABEL="Last:" VALUE="Doe"/><DEMOGRAPHIC_FIELD LABEL="ID:" VALUE="P-17"/><DEMOGRAPHIC_FIELD '
        'LABEL="Age&amp;yr" VALUE="63"/><DEMOGRAPHIC_FIELD LABEL="Sex:" VALUE="Female"/><DEMOGRAPHIC_FIELD LABEL="DOB:" '
        f'VALUE="01/02/1958"/></DEMOGRAPHIC_FIELDS>{channels}<TYPICAL_CYCLE BITS="16" FORMAT="SIGNED" UNITS_PER_MV="1000" '
        f'SAMPLE_FREQ="250" ENCODING="BASE64" QRS_DURATION="90" P_AXIS="50">{cycle}</TYPICAL_CYCLE></ECG>'
    )
    return folder / "eli.xml"


def schiller(folder: Path) -> Path:
    def waves(kind: str, rows: np.ndarray) -> str:
        channels = "".join(
            f"<channel><name>{n}</name><datastype>COMMASEPARATE</datastype><data>{','.join(map(str, row))}</data></channel>"
            for n, row in zip(STANDARD_LEADS, rows.tolist(), strict=True)
        )
        return (
            f"<wavedata><type>{kind}</type><resolution><samplerate><units>HZ</units><value>250</value><exponent>1</exponent>"
            f"</samplerate><yres><units>UV</units><unitperbit>1</unitperbit></yres></resolution>{channels}</wavedata>"
        )

    (folder / "schiller.xml").write_text(
        "<com.xiriuz.sema.xml.schilleredi.SchillerEDI><patdata><id>P-17</id><lastname>Doe</lastname><firstname>Jane</firstname>"
        "<birthdate>19580102</birthdate><gender>FEMALE</gender></patdata><examdescript><startdatetime><date>20210304</date>"
        f"<time>050607</time></startdatetime></examdescript><eventdata><event>{waves('ECG_AVERAGES', micro()[:, :200])}"
        f"{waves('ECG_RHYTHMS', micro())}<annotation><name>PR</name><value>160</value></annotation></event></eventdata>"
        "</com.xiriuz.sema.xml.schilleredi.SchillerEDI>"
    )
    return folder / "schiller.xml"


def zoncare(folder: Path) -> Path:
    rows = np.vstack([micro(), np.zeros((1, micro().shape[1]), np.int64)])
    (folder / "zoncare.xml").write_text(
        f"<zqecg><lead>12</lead><sample>250</sample><second>4</second><data>{b64(np.ascontiguousarray(rows.T))}</data></zqecg>"
    )
    return folder / "zoncare.xml"


# -- SCP-ECG -----------------------------------------------------------------------------------------------------------------

SCP_TAGS = (
    scp_encoder.tag(0, b"Doe\0")
    + scp_encoder.tag(1, b"Jane\0")
    + scp_encoder.tag(2, b"P-17\0")
    + scp_encoder.tag(4, struct.pack("<HB", 63, 1))
    + scp_encoder.tag(5, struct.pack("<HBB", 1958, 1, 2))
    + scp_encoder.tag(6, struct.pack("<HB", 170, 1))
    + scp_encoder.tag(7, struct.pack("<HB", 6500, 2))
    + scp_encoder.tag(8, b"\2")
    + scp_encoder.tag(
        14, bytes(8) + b"Ten\0\0\0\x14\xc0\0\x08" + bytes(17) + b"\1\0" + b"S/N 1\0" + b"2.1\0" + b"\0" + b"Acme\0"
    )
    + scp_encoder.tag(25, struct.pack("<HBB", 2021, 3, 4))
    + scp_encoder.tag(26, struct.pack("<BBB", 5, 6, 7))
    + scp_encoder.tag(27, struct.pack("<H", 5))
    + scp_encoder.tag(28, struct.pack("<H", 150))
    + scp_encoder.tag(29, b"\2")
)


def scp(coding: str = "default", order: int = 2) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"{coding}-{order}.scp"
        path.write_bytes(
            scp_encoder.encode(
                micro(), STANDARD_LEADS, fs=250, order=order, coding=coding, tags=SCP_TAGS, statements=["Sinus rhythm"]
            )
        )
        return path

    return make


# -- DICOM -------------------------------------------------------------------------------------------------------------------


def dicom(folder: Path) -> Path:
    return write(truth(), folder / "ecg.dcm")[0]


def changed(name: str, change: Callable[[Any], None], **save: Any) -> Callable[[Path], Path]:
    """Our own DICOM file after a change; `syntax` names another transfer syntax, `header=False` drops the header."""

    def make(folder: Path) -> Path:
        import pydicom

        source = write(truth(), folder / "source.dcm")[0]
        data = pydicom.dcmread(source)
        source.unlink()
        change(data)
        path = folder / name
        if save.get("header") is False:
            implicit = save.get("implicit", True)
            pydicom.dcmwrite(path, pydicom.Dataset(data), implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        else:
            data.file_meta.TransferSyntaxUID = save.get("syntax", "1.2.840.10008.1.2.1")
            pydicom.dcmwrite(path, data, enforce_file_format=True)
        return path

    return make


def in_nanovolts(data: Any) -> None:
    """32-bit samples with a baseline and a correction factor, in nV."""
    item = data.WaveformSequence[0]
    raw = np.frombuffer(item.WaveformData, "<i2").astype(np.int64)
    item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 32, "SL"
    del item.WaveformPaddingValue
    item.WaveformData = (raw * 5 - 10).astype("<i4").tobytes()
    for channel in item.ChannelDefinitionSequence:
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "100", "2", "2000"
        channel.ChannelSensitivityUnitsSequence[0].CodeValue = "nV"


def in_four_groups(data: Any) -> None:
    """Three leads to a group, as some carts store 12 leads."""
    import copy

    whole = data.WaveformSequence[0]
    raw = np.frombuffer(whole.WaveformData, "<i2").reshape(-1, 12)
    groups = []
    for g in range(4):
        part = copy.deepcopy(whole)
        part.NumberOfWaveformChannels = 3
        part.ChannelDefinitionSequence = list(whole.ChannelDefinitionSequence)[3 * g : 3 * g + 3]
        part.WaveformData = np.ascontiguousarray(raw[:, 3 * g : 3 * g + 3]).tobytes()
        groups.append(part)
    data.WaveformSequence = groups


def big_endian(data: Any) -> None:
    """The samples themselves; pydicom turns everything else."""
    item = data.WaveformSequence[0]
    item.WaveformData = np.frombuffer(item.WaveformData, "<i2").astype(">i2").tobytes()
    item.WaveformPaddingValue = item.WaveformPaddingValue[::-1]


def nothing(data: Any) -> None:
    """Only the transfer syntax changes."""


EXAMPLES: dict[str, list[Callable[[Path], Path]]] = {
    "muse": [muse],
    "sierra": [sierra, sierra_plain],
    "aecg": [aecg, megacare],
    "cardiosoft": [cardiosoft, exercise, exercise_samples],
    "eli": [eli],
    "schiller": [schiller],
    "zoncare": [zoncare],
    "scp": [scp(), scp(order=1), scp(order=0), scp("own"), scp("none", 0)],
    "dicom": [
        dicom,
        changed("nanovolts.dcm", in_nanovolts),
        changed("groups.dcm", in_four_groups),
        changed("implicit.dcm", nothing, syntax="1.2.840.10008.1.2"),
        changed("deflated.dcm", nothing, syntax="1.2.840.10008.1.2.1.99"),
        changed("bigendian.dcm", big_endian, syntax="1.2.840.10008.1.2.2"),
        changed("headless.dcm", nothing, header=False),
        changed("headless-explicit.dcm", nothing, header=False, implicit=False),
    ],
}

SHARED: dict[str, list[str]] = {
    "muse": ["formats/ge-muse-xml/*.xml"],
    "sierra": ["formats/philips-sierra-xml/[!i]*"],
    "aecg": ["formats/hl7-aecg/[!e]*.xml"],
    "scp": ["formats/scp-ecg/*"],
    "dicom": ["formats/dicom/*"],
}

REFUSED = ["formats/philips-sierra-xml/invalid*", "formats/hl7-aecg/empty.xml", "formats/scp-ecg-heal-force-variant/*"]
