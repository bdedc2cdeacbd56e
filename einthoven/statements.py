# ruff: noqa: E501  (the table is read by rows)
"""The vocabulary: every statement this package can make or read, with its codes, its place in the hierarchy and its wordings.

Codes are given only where they could be checked: SCP-ECG acronyms are those of PTB-XL (scp_statements.csv and the heart_axis column of
ptbxl_database.csv; Wagner et al. 2020), SNOMED CT codes those of the PhysioNet/CinC Challenge 2021 (dx_mapping_scored.csv and
dx_mapping_unscored.csv of physionetchallenges/evaluation-2021). None where there is no such code: a wrong code is worse than none.
The infarctions carry the one code for "ECG: myocardial infarction": the territorial codes of SNOMED CT mean acute infarction, which a
single ECG of unknown age does not show.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

GROUPS = ("summary", "rhythm", "pacing", "conduction", "axis", "hypertrophy", "infarction", "st-t", "quality")
SUPERCLASSES = MappingProxyType(
    {
        "NORM": "normal ECG",
        "MI": "myocardial infarction",
        "STTC": "ST-T change",
        "CD": "conduction disturbance",
        "HYP": "hypertrophy",
    }
)


@dataclass(frozen=True)
class Statement:
    """One statement: `text` for the reader, `group` one of GROUPS, `scp` and `snomed` codes, PTB-XL's `superclass` and `subclass`,
    `severity` "normal", "minor", "abnormal" or "critical", and the `words` (lower case, hyphens as blanks) by which vendors say it.
    """

    name: str
    text: str
    group: str
    scp: str | None = None
    snomed: str | None = None
    superclass: str | None = None
    subclass: str | None = None
    severity: str = "abnormal"
    words: tuple[str, ...] = ()


_MI = "164865005"  # ECG: myocardial infarction
_ISCHAEMIA = "164861001"  # ECG: myocardial ischaemia
_STE = "164931005"  # ST elevation
_STD = "429622005"  # ST depression
_T_ABNORMAL = "164934002"  # T wave abnormal


def _s(
    name: str, text: str, group: str, codes: str, words: str = "", severity: str = "abnormal", snomed: str | None = None
) -> Statement:
    """One row: `codes` is "SCP superclass/subclass", each part "-" or left out where there is none; `words` are separated by |."""
    scp, _, place = codes.partition(" ")
    upper, _, lower = place.partition("/")
    return Statement(
        name,
        text,
        group,
        None if scp in ("", "-") else scp,
        snomed,
        upper or None,
        lower or None,
        severity,
        tuple(w.strip() for w in words.split("|") if w.strip()),
    )


# fmt: off
_ROWS = (
    # summary
    _s("normal_ecg", "Normal ECG", "summary", "NORM NORM/NORM", "normal ecg|normal ekg|normales ekg|normalt ekg|otherwise normal ecg|otherwise normal|eljest normalt ekg|within normal limits|ecg is normal|electrocardiogram is normal|ekg is normal|tracing is normal|ecg appears normal|normal electrocardiogram|normal tracing", "normal", "164854000"),
    _s("abnormal_ecg", "Abnormal ECG", "summary", "-", "abnormal ecg|abnormal ekg|pathologisches ekg|patologiskt ekg|ecg is abnormal|ekg is abnormal|ecg is not normal|electrocardiogram is not normal|tracing is not normal|ekg is not normal|abnormal electrocardiogram|abnormal tracing|ecg is clearly abnormal|tracing is abnormal", "abnormal", "102594003"),
    _s("borderline_ecg", "Borderline ECG", "summary", "-", "borderline ecg|borderline normal ecg|grenzwertiges ekg", "minor"),
    # rhythm
    _s("sinus_rhythm", "Sinus rhythm", "rhythm", "SR", "sinus rhythm|normal sinus rhythm|sinusrhythmus|sinusrytm|nsr|sr", "normal", "426783006"),
    _s("sinus_bradycardia", "Sinus bradycardia", "rhythm", "SBRAD", "sinus bradycardia|sinusbradykardie|sinusbradykardi|marked sinus bradycardia|sinus brady", "minor", "426177001"),
    _s("sinus_tachycardia", "Sinus tachycardia", "rhythm", "STACH", "sinus tachycardia|sinustachykardie|sinustakykardi|sinus tachy", "minor", "427084000"),
    _s("sinus_arrhythmia", "Sinus arrhythmia", "rhythm", "SARRH", "sinus arrhythmia|sinusarrhythmie|marked sinus arrhythmia|sinusarytmi", "normal", "427393009"),
    _s("atrial_fibrillation", "Atrial fibrillation", "rhythm", "AFIB", "atrial fibrillation|vorhofflimmern|foermaksflimmer|afib|absolute arrhythmie|af|a fib", "abnormal", "164889003"),
    _s("atrial_flutter", "Atrial flutter", "rhythm", "AFLT", "atrial flutter|vorhofflattern|foermaksfladder|aflutter|a flutter|afl|flutter", "abnormal", "164890007"),
    _s("supraventricular_tachycardia", "Supraventricular tachycardia", "rhythm", "SVTAC", "supraventricular tachycardia|supraventrikulaere tachykardie|svt|narrow complex tachycardia", "abnormal", "426761007"),
    _s("psvt", "Paroxysmal supraventricular tachycardia", "rhythm", "PSVT", "paroxysmal supraventricular tachycardia", "abnormal", "67198005"),
    _s("atrial_tachycardia", "Atrial tachycardia", "rhythm", "-", "atrial tachycardia|vorhoftachykardie", "abnormal", "713422000"),
    _s("supraventricular_arrhythmia", "Supraventricular arrhythmia", "rhythm", "SVARR", "supraventricular arrhythmia|supraventrikulaere arrhythmie", "abnormal"),
    _s("ectopic_atrial_rhythm", "Ectopic atrial rhythm", "rhythm", "-", "ectopic atrial rhythm|atrial rhythm|low atrial rhythm|ectopic atrial pacemaker|ektoper vorhofrhythmus", "minor", "106068003"),
    _s("junctional_rhythm", "Junctional rhythm", "rhythm", "-", "junctional rhythm|av junctional rhythm|nodal rhythm|knotenrhythmus|junktionaler rhythmus", "abnormal", "29320008"),
    _s("junctional_escape", "Junctional escape rhythm", "rhythm", "-", "junctional escape rhythm|junctional escape|junctional bradycardia", "abnormal", "426995002"),
    _s("accelerated_junctional", "Accelerated junctional rhythm", "rhythm", "-", "accelerated junctional rhythm", "abnormal", "426664006"),
    _s("idioventricular_rhythm", "Idioventricular rhythm", "rhythm", "-", "idioventricular rhythm|idioventrikulaerer rhythmus", "critical", "49260003"),
    _s("accelerated_idioventricular", "Accelerated idioventricular rhythm", "rhythm", "-", "accelerated idioventricular rhythm", "abnormal", "61277005"),
    _s("ventricular_tachycardia", "Ventricular tachycardia", "rhythm", "-", "ventricular tachycardia|ventrikulaere tachykardie|kammertachykardie|vt|ventricular tachycardias", "critical", "164895002"),
    _s("wide_qrs_tachycardia", "Wide QRS tachycardia of undetermined origin", "rhythm", "-", "wide qrs tachycardia|wide complex tachycardia|broad complex tachycardia|broad qrs tachycardia", "critical"),
    _s("ventricular_fibrillation", "Ventricular fibrillation", "rhythm", "-", "ventricular fibrillation|kammerflimmern", "critical", "164896001"),
    _s("pac", "Premature atrial complex", "rhythm", "PAC", "premature atrial complex|premature atrial complexes|premature atrial contraction|premature atrial contraction s|premature atrial contractions|atrial premature complex|atrial premature complexes|premature supraventricular complexes|supraventricular extrasystole|supraventricular premature complex|supraventrikulaere extrasystole|supraventrikulaere extrasystolen|supraventrikulaere extrasystole n|sves|supraventrikulaer es|supraventrikulaeren extrasystolen|supraventricular extrasystoles|supraventricular ectopics|atrial premature beats|premature atrial beats|premature atrial beat|atrial ectopics|atrial ectopic beats|pacs|apcs|apbs", "minor", "284470004"),
    _s("pvc", "Premature ventricular complex", "rhythm", "PVC", "premature ventricular complex|premature ventricular complexes|premature ventricular contraction|premature ventricular contraction s|premature ventricular contractions|ventricular premature complex|ventricular premature complexes|ventricular extrasystole|ventrikulaere extrasystole|ventrikulaere extrasystolen|ventrikulaere extrasystole n|ves|pvcs|pvc|ventricular extrasystoles|ventricular ectopics|ventricular ectopic beats|vpbs|vpb|ventricular premature beats|ventricular premature beat|premature ventricular beats|premature ventricular beat|vpcs|ventricular ectopy", "minor", "427172004"),
    _s("premature_complexes", "Premature complexes", "rhythm", "PRC(S)", "premature complexes|premature complex", "minor"),
    _s("bigeminy", "Bigeminal pattern", "rhythm", "BIGU", "bigeminy|bigeminus|bigeminal pattern", "abnormal"),
    _s("ventricular_bigeminy", "Ventricular bigeminy", "rhythm", "BIGU", "ventricular bigeminy", "abnormal", "11157007"),
    _s("atrial_bigeminy", "Atrial bigeminy", "rhythm", "BIGU", "atrial bigeminy|supraventricular bigeminy", "minor", "251173003"),
    _s("trigeminy", "Trigeminal pattern", "rhythm", "TRIGU", "trigeminy|trigeminus|trigeminal pattern", "abnormal"),
    _s("ventricular_trigeminy", "Ventricular trigeminy", "rhythm", "TRIGU", "ventricular trigeminy", "abnormal", "251180001"),
    _s("pause", "Pause", "rhythm", "-", "sinus pause|pause|pauses|sinus pauses", "abnormal"),
    _s("undetermined_rhythm", "Rhythm cannot be determined", "rhythm", "-", "undetermined rhythm|rhythm can not be determined|rhythm cannot be determined|unbestimmter rhythmus", "minor"),
    # pacing
    _s("paced", "Electronic pacemaker", "pacing", "PACE", "pacemaker|electronic pacemaker|pacing|paced rhythm|schrittmacher|schrittmacherrhythmus|pacemakerrytm|schrittmacher ekg|paced", "abnormal", "10370003"),
    _s("ventricular_paced", "Ventricular paced rhythm", "pacing", "PACE", "ventricular paced rhythm|ventricular paced|ventricular pacing|ventricular paced complexes|ventricularly paced|v paced|paced ventricular rhythm|ventricular pacemaker|rv paced|biventricular paced|biventricular pacing|atrial sensed ventricular paced rhythm|electronic ventricular pacemaker|ventrikulaerer schrittmacherrhythmus|ventrikulaere stimulation|ventrikulaerer stimulation", "abnormal", "251266004"),
    _s("atrial_paced", "Atrial paced rhythm", "pacing", "PACE", "atrial paced rhythm|atrial pacing|atrial paced complexes|atrially paced|atrial paced|atrial pacemaker", "abnormal", "251268003"),
    # conduction
    _s("first_degree_av_block", "First-degree AV block", "conduction", "1AVB CD/_AVB", "1st degree av block|first degree av block|first degree block|i degree av block|av block i|av block 1|av block 1 grades|av block ersten grades|av block i grad|av block grad i|av block grad 1", "minor", "270492004"),
    _s("prolonged_pr", "Prolonged PR interval", "conduction", "LPR", "prolonged pr interval|prolonged pr|pr interval is prolonged|pq verlaengerung|pr verlaengerung|foerlaengd pq tid|pr prolongation|long pr|long pr interval|pr is prolonged|prolonged pq", "minor", "164947007"),
    _s("short_pr", "Short PR interval", "conduction", "-", "short pr interval|short pr|pr interval is short|pr is short|verkuerzte pq zeit", "minor", "49578007"),
    _s("second_degree_av_block", "Second-degree AV block", "conduction", "2AVB CD/_AVB", "2nd degree av block|second degree av block|ii degree av block|av block ii|av block 2 grades|av block zweiten grades", "critical", "195042002"),
    _s("mobitz_1", "Second-degree AV block, Mobitz I (Wenckebach)", "conduction", "2AVB CD/_AVB", "mobitz i|mobitz 1|mobitz type i|wenckebach|2nd degree av block mobitz i|second degree av block mobitz i", "abnormal", "54016002"),
    _s("mobitz_2", "Second-degree AV block, Mobitz II", "conduction", "2AVB CD/_AVB", "mobitz ii|mobitz 2|mobitz type ii|2nd degree av block mobitz ii|second degree av block mobitz ii", "critical", "426183003"),
    _s("av_block_2_1", "Second-degree AV block with 2:1 conduction", "conduction", "2AVB CD/_AVB", "2 1 av block|2 1 av conduction|2 1 block", "critical", "195042002"),
    _s("complete_av_block", "Third-degree (complete) AV block", "conduction", "3AVB CD/_AVB", "3rd degree av block|third degree av block|iii degree av block|complete heart block|complete av block|totaler av block|av block iii|av block 3 grades|av block dritten grades", "critical", "27885002"),
    _s("av_dissociation", "AV dissociation", "conduction", "-", "av dissociation|av dissoziation|p waves and qrs complexes are dissociated", "abnormal", "50799005"),
    _s("crbbb", "Complete right bundle branch block", "conduction", "CRBBB CD/CRBBB", "right bundle branch block|complete right bundle branch block|complete rbbb|rbbb|rechtsschenkelblock|kompletter rechtsschenkelblock|vollstaendiger rechtsschenkelblock|hoegersidigt skaenkelblock", "abnormal", "713427006"),
    _s("irbbb", "Incomplete right bundle branch block", "conduction", "IRBBB CD/IRBBB", "incomplete right bundle branch block|incomplete rbbb|irbbb|partial right bundle branch block|partial rbbb|inkomplett hoegersidigt skaenkelblock|inkompletter rechtsschenkelblock|unvollstaendiger rechtsschenkelblock|rsr in v1|rsr or qr pattern in v1 suggests right ventricular conduction delay", "minor", "713426002"),
    _s("clbbb", "Complete left bundle branch block", "conduction", "CLBBB CD/CLBBB", "left bundle branch block|complete left bundle branch block|complete lbbb|lbbb|linksschenkelblock|kompletter linksschenkelblock|vollstaendiger linksschenkelblock|vaenstersidigt skaenkelblock", "abnormal", "733534002"),
    _s("ilbbb", "Incomplete left bundle branch block", "conduction", "ILBBB CD/ILBBB", "incomplete left bundle branch block|incomplete lbbb|ilbbb|inkomplett vaenstersidigt skaenkelblock|inkompletter linksschenkelblock|unvollstaendiger linksschenkelblock", "minor", "251120003"),
    _s("lafb", "Left anterior fascicular block", "conduction", "LAFB CD/LAFB/LPFB", "left anterior fascicular block|left anterior hemiblock|lahb|left anterior fascicle block|linksanteriorer hemiblock|linksanteriorer faszikelblock|links anteriorer hemiblock|lah|vaenster anteriort hemiblock|lafb", "minor", "445118002"),
    _s("lpfb", "Left posterior fascicular block", "conduction", "LPFB CD/LAFB/LPFB", "left posterior fascicular block|left posterior hemiblock|lphb|linksposteriorer hemiblock|links posteriorer hemiblock|lpfb", "abnormal", "445211001"),
    _s("ivcd", "Non-specific intraventricular conduction delay", "conduction", "IVCD CD/IVCD", "intraventricular conduction delay|nonspecific intraventricular conduction delay|non specific intraventricular conduction delay|nonspecific intraventricular block|intraventricular conduction disturbance|ivcd|intraventricular conduction defect|intraventricular delay|intraventrikulaere leitungsstoerung|unspezifische intraventrikulaere leitungsstoerung|intraventricular conduction block", "minor", "698252002"),
    _s("bifascicular_block", "Bifascicular block", "conduction", "-", "bifascicular block|bifaszikulaerer block", "abnormal"),
    _s("trifascicular_block", "Bifascicular block with first-degree AV block", "conduction", "-", "trifascicular block|trifaszikulaerer block", "abnormal"),
    _s("preexcitation", "Ventricular pre-excitation (WPW pattern)", "conduction", "WPW CD/WPW", "wolff parkinson white|delta waves|delta wave|wolf parkinson white|wpw|ventricular pre excitation|ventricular preexcitation|pre excitation|praeexzitation", "abnormal", "74390002"),
    _s("abnormal_qrs", "Abnormal QRS", "conduction", "ABQRS", "abnormal qrs|qrs abnormal|qrs t abnormal|qrs abnorm", "minor", "164951009"),
    # axis
    _s("axis_normal", "Normal QRS axis", "axis", "MID", "normal axis|axis is normal|lagetyp normal|normaltyp|indifferenztyp|axis normal|axis is within normal limits|axis within normal limits|axis appears normal|normal qrs axis|normal frontal axis|normal electrical axis", "normal"),
    _s("axis_left", "Left axis deviation", "axis", "LAD", "left axis deviation|linkstyp|ueberdrehter linkstyp|abnormal left axis deviation|axis is deviated to left|axis is leftward|left axis|axis is left|vaenster el axel|linkslagetyp|lad|leftward axis", "minor", "39732003"),
    _s("axis_right", "Right axis deviation", "axis", "RAD", "right axis deviation|rechtstyp|rightward axis|axis is deviated to right|axis is rightward|right axis|rad|ueberdrehter rechtstyp|hoeger el axel|rechtslagetyp", "minor", "47665007"),
    _s("axis_extreme", "Extreme axis deviation (north-west)", "axis", "-", "extreme axis deviation|northwest axis|north west axis|right superior axis deviation", "abnormal"),
    _s("axis_indeterminate", "Indeterminate axis", "axis", "-", "indeterminate axis|indeterminate qrs axis|sagittaltyp|s1 s2 s3 typ", "minor", "251200008"),
    # hypertrophy, atria, voltage
    _s("lae", "Left atrial enlargement", "hypertrophy", "LAO/LAE HYP/LAO/LAE", "left atrial enlargement|left atrial abnormality|left atrial hypertrophy|p mitrale|p sinistroatriale|p sinistrocardiale|p sinistroatrial", "minor", "67741000119109"),
    _s("rae", "Right atrial enlargement", "hypertrophy", "RAO/RAE HYP/RAO/RAE", "right atrial enlargement|right atrial abnormality|right atrial hypertrophy|p pulmonale|p dextroatriale|p dextrocardiale", "minor", "446358003"),
    _s("lvh", "Left ventricular hypertrophy", "hypertrophy", "LVH HYP/LVH", "left ventricular hypertrophy|lvh|linksventrikulaere hypertrophie|linkshypertrophie|linksherzhypertrophie|vaensterkammarhypertrofi", "abnormal", "164873001"),
    _s("lvh_voltage", "Voltage criteria for left ventricular hypertrophy", "hypertrophy", "VCLVH", "voltage criteria for left ventricular hypertrophy|minimal voltage criteria for lvh|voltage criteria for lvh|suggesting lvh|hohe linksventrikulaere potentiale|left ventricular high voltage", "minor", "55827005"),
    _s("lv_strain", "Left ventricular strain pattern", "hypertrophy", "-", "left ventricular strain|lv strain|repolarization abnormality secondary to ventricular hypertrophy|strain|strain pattern|lvh strain", "abnormal", "370365005"),
    _s("rvh", "Right ventricular hypertrophy", "hypertrophy", "RVH HYP/RVH", "right ventricular hypertrophy|rvh|rechtsventrikulaere hypertrophie|rechtshypertrophie|rechtsherzhypertrophie", "abnormal", "89792004"),
    _s("septal_hypertrophy", "Septal hypertrophy", "hypertrophy", "SEHYP HYP/SEHYP", "septal hypertrophy|septumhypertrophie", "abnormal"),
    _s("low_voltage", "Low QRS voltage", "hypertrophy", "LVOLT", "low voltage|low voltages|low qrs voltage|low voltage qrs|low limb lead voltage|niederspannung|periphere niederspannung|low qrs voltages", "minor", "251146004"),
    _s("high_voltage", "High QRS voltage", "hypertrophy", "HVOLT", "high qrs voltage|high qrs voltages|high voltages|high voltage|hohe voltage|voltages are high", "minor"),
    # infarction
    _s("mi_inferior", "Inferior myocardial infarction", "infarction", "IMI MI/IMI", "inferior infarct|inferior infarction|inferior myocardial infarction|old inferior myocardial infarction|alter inferiorer infarkt|inferiorer infarkt|inferior myocardial infarct|hinterwandinfarkt|inferior mi", "abnormal", _MI),
    _s("mi_anteroseptal", "Anteroseptal myocardial infarction", "infarction", "ASMI MI/AMI", "anteroseptal infarct|anteroseptal infarction|anteroseptal myocardial infarction|septal infarct|septal infarction|anteroseptaler infarkt|septaler infarkt|septal myocardial infarction|anteroseptal mi", "abnormal", _MI),
    _s("mi_anterior", "Anterior myocardial infarction", "infarction", "AMI MI/AMI", "anterior infarct|anterior infarction|anterior myocardial infarction|anteriorer infarkt|vorderwandinfarkt|anterior mi", "abnormal", _MI),
    _s("mi_anterolateral", "Anterolateral myocardial infarction", "infarction", "ALMI MI/AMI", "anterolateral infarct|anterolateral infarction|anterolateral myocardial infarction|anterolateraler infarkt|anterolateral mi", "abnormal", _MI),
    _s("mi_lateral", "Lateral myocardial infarction", "infarction", "LMI MI/LMI", "lateral infarct|lateral infarction|lateral myocardial infarction|lateraler infarkt|seitenwandinfarkt|high lateral infarct|lateral mi", "abnormal", _MI),
    _s("mi_inferolateral", "Inferolateral myocardial infarction", "infarction", "ILMI MI/IMI", "inferolateral infarct|inferolateral infarction|inferolateral myocardial infarction|inferolateraler infarkt|inferolateral mi", "abnormal", _MI),
    _s("mi_inferoposterior", "Inferoposterior myocardial infarction", "infarction", "IPMI MI/IMI", "inferoposterior infarct|inferior posterior infarct|inferoposterior myocardial infarction|inferoposteriorer infarkt", "abnormal", _MI),
    _s("mi_inferoposterolateral", "Inferoposterolateral myocardial infarction", "infarction", "IPLMI MI/IMI", "inferoposterolateral infarct|inferoposterolateral myocardial infarction", "abnormal", _MI),
    _s("mi_posterior", "Posterior myocardial infarction", "infarction", "PMI MI/PMI", "posterior infarct|posterior infarction|posterior myocardial infarction|posteriorer infarkt|true posterior infarct|posterior mi", "abnormal", _MI),
    _s("q_waves", "Pathological Q waves", "infarction", "QWAVE", "q waves|q wave|qs complexes|qs complex|qs waves|deep qs|qs pattern|abnormal q waves|pathological q|pathologisches q|pathologischem q|pathologische q|pathologische q zacken|q zacken", "minor", "164917005"),
    _s("poor_r_progression", "Poor R-wave progression", "infarction", "-", "poor r wave progression|poor r progression|slow r progression|schlechte r progression|verzoegerte r progression|mangelnde r progression|schlechte r progression|low r wave progression|slow r wave progression|reduced r wave progression|loss of r wave progression", "minor", "365413008"),
    _s("stemi", "ST elevation myocardial infarction", "infarction", "-", "acute mi|acute infarct|acute myocardial infarction|stemi|st elevation myocardial infarction|akuter infarkt|frischer infarkt", "critical"),
    _s("ste_mi_equivalent_lbbb", "ST changes of infarction in wide QRS (Sgarbossa)", "infarction", "-", "sgarbossa", "critical"),
    *(
        _s(f"st_injury_{place}", f"Subendocardial injury in {where} leads", "infarction", f"{scp} MI/{sub}", f"subendocardial injury in {where} leads|{where} subendocardial injury|{where} injury", "abnormal", _STD)
        for place, where, scp, sub in (("anteroseptal", "anteroseptal", "INJAS", "AMI"), ("anterolateral", "anterolateral", "INJAL", "AMI"), ("inferior", "inferior", "INJIN", "IMI"), ("lateral", "lateral", "INJLA", "AMI"), ("inferolateral", "inferolateral", "INJIL", "IMI"))
    ),
    # ST and T
    *(
        _s(f"st_elevation_{place}", f"ST elevation in {place} leads", "st-t", "STE_", f"st elevation in {place} leads|{place} st elevation|st elevation {place}", "critical", _STE)
        for place in ("anteroseptal", "anterior", "anterolateral", "lateral", "inferior", "inferolateral")
    ),
    _s("st_elevation", "ST elevation", "st-t", "STE_", "st elevation|st hebung|st hebungen|st segments are elevated|st hoejning", "abnormal", _STE),
    _s("st_depression", "ST depression", "st-t", "STD_", "st depression|st senkung|st senkungen|st segments are depressed|st saenkning|st t saenkning|non specific st depression|nonspecific st depression|st segment depression", "abnormal", _STD),
    _s("nonspecific_st", "Non-specific ST changes", "st-t", "NST_ STTC/NST_", "nonspecific st abnormality|non specific st changes|nonspecific st changes|nonspecific st t abnormality|nonspecific st and t wave abnormality|non specific st t changes|unspezifische st veraenderungen|st veraenderungen", "minor", "55930002"),
    _s("nondiagnostic_t", "Non-diagnostic T abnormalities", "st-t", "NDT STTC/STTC", "non diagnostic t abnormalities|unspezifisches abnormales t|unspezifisch abnormales t|unspezifische t wellen veraenderungen", "minor", _T_ABNORMAL),
    _s("nonspecific_t", "Non-specific T-wave changes", "st-t", "NT_", "nonspecific t wave abnormality|non specific t wave changes|nonspecific t wave changes|non specific t wave flattening|nonspecific t abnormality|unspezifische t veraenderung", "minor", _T_ABNORMAL),
    _s("low_t", "Low or flat T waves", "st-t", "LOWT", "low amplitude t waves|t waves are low or flat|flat t waves|t waves are flat|t wave flattening|t abflachung|flaches t|flache t|flattened t waves|flat t wave|t wave is flat|t wave flattening|low t waves|t waves are flattened|t waves flat|flattening of t waves", "minor", _T_ABNORMAL),
    _s("t_inversion", "T-wave inversion", "st-t", "INVT", "t wave inversion|inverted t waves|t waves are inverted|t negativierung|t neg|t negativ|negatives t|t wave inversions|t inversion|t inversions|inverted t wave|negative t waves|negative t wave|t waves inverted|t wave is inverted|inversion of t waves|inverted ts|twi", "abnormal", "59931005"),
    _s("t_abnormal", "T-wave abnormality", "st-t", "TAB_", "t wave abnormality|t wave abnormal|abnormales t|t abnormal|biphasic t waves|biphasic t wave", "minor", _T_ABNORMAL),
    _s("tall_t", "Tall, narrow-based T waves: consider hyperkalaemia", "st-t", "-", "tall t waves|peaked t waves|tall peaked t waves|peaked t wave|hyperkalemia|hyperkalaemia|hohe t wellen|high t voltage|tall t wave", "abnormal", "251259000"),
    _s("ischaemia", "ST-T changes that may be ischaemic", "st-t", "ISC_ STTC/ISC_", "myocardial ischaemia|myocardial ischemia|ischaemia|ischemia|ischaemic changes|ischemic changes|ischaemie|ischemi", "abnormal", _ISCHAEMIA),
    *(
        _s(f"ischaemia_{place}", f"ST-T changes that may be ischaemic in {place} leads", "st-t", f"{scp} STTC/{sub}", f"{place} ischaemia|{place} ischemia|ischemia in {place} leads|ischaemia in {place} leads", "abnormal", code)
        for place, scp, sub, code in (("anterolateral", "ISCAL", "ISCA", _ISCHAEMIA), ("anteroseptal", "ISCAS", "ISCA", _ISCHAEMIA), ("anterior", "ISCAN", "ISCA", "426434006"), ("lateral", "ISCLA", "ISCA", "425623009"), ("inferior", "ISCIN", "ISCI", "425419005"), ("inferolateral", "ISCIL", "ISCI", _ISCHAEMIA))
    ),
    _s("aneurysm", "ST-T changes compatible with ventricular aneurysm", "st-t", "ANEUR STTC/STTC", "ventricular aneurysm|aneurysma|aneurysm", "abnormal"),
    _s("digitalis_effect", "ST-T changes of digitalis type", "st-t", "DIG STTC/STTC", "digitalis effect|dig effect|digitalis|digitaliseffekt|digitaliswirkung|digoxin effect|digoxin", "minor"),
    _s("electrolyte_or_drug", "Electrolyte disturbance or drug effect", "st-t", "EL STTC/STTC", "electrolyte disturbance|drug effect|elektrolytstoerung|electrolyte imbalance|hypokalaemia|hypokalemia|hypokaliaemie", "minor"),
    _s("long_qt", "Prolonged QTc interval", "st-t", "LNGQT STTC/STTC", "prolonged qt|prolonged qt interval|long qt|long qt interval|qt verlaengerung|foerlaengd qt tid|prolonged qtc|qt interval is prolonged|qtc is prolonged|qtc prolonged|prolonged qtc interval|qtc prolongation|qt prolongation|qtc interval is prolonged|qt is prolonged|qt prolonged|long qtc|prolongation of qt interval|prolongation of qtc", "abnormal", "111975006"),
    _s("short_qt", "Short QTc interval", "st-t", "-", "short qt|short qtc|short qt interval|short qtc interval|qt interval is short|qtc is short|verkuerzte qt zeit", "abnormal", "77867006"),
    _s("early_repolarisation", "Early repolarisation pattern", "st-t", "-", "early repolarization|early repolarisation|fruehe repolarisation|vorzeitige repolarisation", "minor", "428417006"),
    _s("pericarditis", "Diffuse ST elevation, pericarditis pattern", "st-t", "-", "pericarditis|perikarditis|acute pericarditis", "abnormal"),
    _s("brugada", "Brugada type 1 pattern", "st-t", "-", "brugada", "critical", "418818005"),
    _s("u_waves", "Prominent U waves", "st-t", "-", "prominent u waves|u wave|u waves|u welle", "minor", "164937009"),
    # quality
    _s("unreadable", "The ECG cannot be read", "quality", "-", "unreadable|poor data quality interpretation may be adversely affected|uninterpretable|can not be interpreted|cannot be interpreted", "abnormal"),
    _s("poor_quality", "Poor signal quality", "quality", "-", "poor data quality|poor quality|baseline wander|baseline drift|muscle artifact|muscle artefact|artifact|artefact|artefakt|artefakte|signal quality is poor|poor signal quality|quality is poor", "minor"),
    _s("limb_lead_reversal", "Limb leads reversed", "quality", "-", "limb lead reversal|limb leads were reversed|limb leads are reversed|limb leads reversed|reversed limb leads|reversal of limb leads|arm leads reversed|arm leads were reversed|arm lead reversal|suspect arm lead reversal|suspect arm leads reversed|leads reversed", "abnormal", "251139008"),
    _s("leads_contradict", "Limb leads contradict Einthoven's law: amplitudes and axes cannot be trusted", "quality", "-", "", "abnormal"),
    _s("precordial_misplacement", "Precordial leads misplaced", "quality", "-", "precordial lead reversal|precordial leads misplaced|lead placement|lead misplacement|electrode misplacement|misplaced precordial leads|misplacement of precordial leads|precordial lead misplacement|chest leads misplaced", "minor"),
    _s("dextrocardia", "Pattern of dextrocardia or arm-lead reversal with reversed precordial leads", "quality", "-", "dextrocardia|dextrokardie", "abnormal"),
)
# fmt: on

STATEMENTS: Mapping[str, Statement] = MappingProxyType({s.name: s for s in _ROWS})

# Each SCP-ECG acronym to the statement that means just that (several statements may share a code: STE_, BIGU, PACE, 2AVB).
BY_SCP: Mapping[str, str] = MappingProxyType(
    {s.scp: s.name for s in reversed(_ROWS) if s.scp} | {"PACE": "paced", "STE_": "st_elevation"}
)


def is_a(name: str, ancestor: str) -> bool:
    """Whether a statement falls under a superclass ("CD") or subclass ("IMI") of PTB-XL or is the statement itself."""
    s = STATEMENTS[name]
    return ancestor in (s.name, s.scp, s.subclass, s.superclass)


# Vendor wording ----------------------------------------------------------------------------------------------------------------

_BLANKS = re.compile(r"[^a-z0-9]+")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "a"})


def _own_words() -> Iterator[tuple[str, str]]:
    """What a statement is called, and what it is named by (its text as far as the first comma), each once."""
    taken: dict[str, str] = {}
    for s in _ROWS:
        for words in s.words:
            taken.setdefault(words, s.name)
    for s in _ROWS:
        words = _BLANKS.sub(" ", re.split(r"[,:(]", s.text.lower().translate(_UMLAUTS))[0]).strip()
        if "," not in s.text and ":" not in s.text:
            taken.setdefault(words, s.name)
    yield from taken.items()


# Wordings of two statements, and such as sound like a statement and are none of the vocabulary.
_PLACES = ("inferior", "anteroseptal", "anterior", "anterolateral", "lateral", "inferolateral", "posterior")
_OF_TWO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{
            words: ("stemi", f"mi_{place}")
            for place in _PLACES
            for words in (
                f"acute {place} stemi",
                f"{place} stemi",
                f"{place} st elevation myocardial infarction",
            )
        },
        **{
            words: ("nonspecific_st", "nonspecific_t")
            for words in (
                "nonspecific st and t wave abnormality",
                "nonspecific st and t wave changes",
                "non specific st and t wave changes",
                "non specific st and t wave abnormality",
                "nonspecific st t changes",
                "non specific st t changes",
                "nonspecific st t wave changes",
                "non specific st t wave changes",
                "nonspecific st t abnormality",
            )
        },
        "right ventricular strain": (),
        "rv strain": (),
        "right heart strain": (),
        "inverted p waves": (),
        "inverted p wave": (),
        "junctional escape beat": (),
        "junctional escape beats": (),
    }
)
_WORDS: tuple[tuple[str, str], ...] = tuple(sorted(_own_words(), key=lambda pair: (-len(pair[0]), pair[0])))
_NAME_OF = MappingProxyType(dict(_WORDS))


# What denies everything after it in its clause, everything before it, and everything in it.
_DENIES_AFTER = re.compile(
    r"(?<![a-z])(?:no|not|neither|nor|without|denies|negative for|absence of|lack of|lacks|free of|free from|rather than|instead of"
    r"|history of|to diagnose|would expect|against|whether|unlikely to (?:be|represent)|needs|requires|mimic(?:s|king)?|simulating|resembl(?:es|ing)|incorrect to|wrong to|favou?red over|more likely than|preferred over|(?<!normal )limits?|limiting|precludes?|precluding|prevents?|preventing|hampers?|obscures?|obscuring"
    r"|was (?:previously |formerly )?in|had been in|used to be"
    r"|mistaken for|misread as|(?:can|may|might) (?:reveal|show|cause|be seen)|computer (?:reads|read|says|calls)"
    r"|(?:previous|prior|earlier|last) (?:tracing|ecg|ekg|recording)s? (?:showed|shows|had|demonstrated|revealed)|has replaced|have replaced"
    r"|kein|keine|keinen|keiner|ohne|ingen|inga|inget)(?![a-z])"
)
_SEEN = (
    r"(?:seen|present|evident|observed|noted|detected|found|identified|apparent|appreciated|suggested|demonstrated|visible|met"
    r"|fulfilled|developed|assessed|determined|recognised|recognized|shown|recorded|established|supported|confirmed|captured)"
)
_DENIES_BEFORE = re.compile(
    r"(?<![a-z])(?:unlikely(?! to (?:be|represent))|less likely|improbable|(?:has|have) been replaced|replaced by"
    r"|(?:has|have) (?:converted|reverted|given way|changed) to|(?:has |have )?(?:resolved|settled|disappeared|subsided|gone)"
    rf"|(?:can)?not (?:\w+ly |yet |been |be |clearly |any longer )*{_SEEN}|(?:is|are|was|were) never {_SEEN}"
    r"|none (?:of (?:these|those|them|which) )?(?:is|are|was|were)|(?:is |are )?negative$|(?:was|were) (?:sought|looked for|searched for)|unwahrscheinlich|nicht (?:vorhanden|nachweisbar|erkennbar))(?![a-z])"
)
_DENIES_ALL = re.compile(
    r"(?<![a-z])(?:no longer|not present|not seen|absent|ruled out|excluded|ausgeschlossen|nicht nachweisbar)(?![a-z])"
)
# What is normal of a part, or but for something, is no normal ECG.
_PART = re.compile(
    r"(?<![a-z])(?:interval|qtc?|pr|pq|qrs|axis|rate|segments?|voltages?|waves?|durations?|progression)(?![a-z])"
)
_BUT_FOR = re.compile(r"(?<![a-z])(?:except|apart from|other than|ausser|bis auf)(?![a-z])")
# Doubt is not denial: "cannot rule out", "cannot be excluded", "nicht auszuschliessen" still name what is suspected.
_DOUBT = re.compile(
    r"(?:can ?not|could not|kann nicht|not) (?:be )?(?:\w+ly )?(?:ruled out|rule out|excluded|exclude|ausgeschlossen)|nicht (?:sicher )?(?:auszuschliessen|ausgeschlossen)"
)


def parse_statement(text: str) -> list[str]:
    """The statements of a vendor's or a reader's sentence, by name, in order of appearance and each once.

    English, and German and Swedish as far as PTB-XL's reports go. What is denied ("no ST elevation", "ohne Infarkt", "atrial
    fibrillation has replaced sinus rhythm") is left out; what is only suspected ("cannot rule out anterior infarct") is kept.
    The longest wording wins: "incomplete right bundle branch block" is not also the complete one.
    """
    return list(
        dict.fromkeys(
            n for words in _asserted(spoken(text), _wordings()) for n in _OF_TWO.get(words) or (_NAME_OF.get(words, ""),) if n
        )
    )


def mentioned(text: str) -> list[tuple[str, bool]]:
    """Every statement that a text names, each once, and whether it is asserted: "AF, no LBBB" is AF asserted, LBBB denied. One
    that is both counts as asserted."""
    out: dict[str, bool] = {}
    for words, said in _mentioned(spoken(text), _wordings()):
        for name in _OF_TWO.get(words) or (_NAME_OF.get(words, ""),):
            if name:
                out[name] = out.get(name, False) or said
    return list(out.items())


def asserted(text: str, wordings: Mapping[str, str]) -> list[str]:
    """The same over a vocabulary of one's own: `wordings` maps what may be said to its name. Whole words, in any case and with
    or without hyphens; the longest wins. Raises ValueError for a wording without a letter or a digit."""
    names = {_plain(words): name for words, name in wordings.items()}
    if not all(names):
        raise ValueError("a wording holds letters or digits")
    if not names:
        return []
    return list(dict.fromkeys(names[words] for words in _asserted(text, _pattern(names))))


# One way of saying each thing, out of the many that readers and models have. In lower case; a hyphen is a blank later.
_SAYINGS: tuple[tuple[str, str], ...] = (
    (r"n[\u2019']t\b", " not"),
    (r"\bcannot\b", "can not"),
    (r"\batrio[- ]?ventricular\b", "av"),
    (r"\bav[- ]?b\b", "av block"),
    (r"\b(?:(1)|(2)|(3))\s?(?:°|º|o(?=\s?av)|deg\b\.?)\s?(?=a)", r"\1\2\3 degree "),
    (r"\b1(?:st)?[- ]degree\b", "first degree"),
    (r"\b2(?:nd)?[- ]degree\b", "second degree"),
    (r"\b3(?:rd)?[- ]degree\b", "third degree"),
    (r"\b(first|second|third)[- ]degree (?:heart|a[- ]?v) block\b", r"\1 degree av block"),
    (r"\bst[- ]?segment(?:s)?[- ](elevation|depression)s?\b", r"st \1"),
    (r"\b(elevation|depression) (?:of|in) (?:the )?st[- ]segments?\b", r"st \1"),
    (r"\b(elevated|depressed) st[- ]segments?\b", r"st \1"),
    (r"\bst[- ]segments?,? (?:is|are|was|were) (?:\w+ly )?(?=(?:elevated|depressed))", "st segments are "),
    (r"\bst (?:\d+(?:\.\d+)? ?mm )?(elevations|depressions)\b", r"st \1"),
    (r"\bst (elevation|depression)s\b", r"st \1"),
    (r"\ba-paced\b", "atrial paced"),
    (r"\b([rl]bbb|(?:right|left) bundle[- ]branch block),? (?:is )?incomplete\b", r"incomplete \1"),
    (r"\bqs(?= (?:in|waves?|complex|morphology|deflection))", "q waves"),
    (r"\bp[- ]waves?\b[^.;]{0,60}\bdissociated\b", "av dissociation"),
    # The artery of that name is no axis.
    (
        r"\b(?:(?:proximal|mid|distal) lad\b|lad (?=stenosis|occlusion|territory|lesion|artery|culprit|disease))",
        "coronary ",
    ),
    (r"\bst elevated\b", "st elevation"),
    (r"\bst depressed\b", "st depression"),
    (r"\b(anterior|inferior|lateral|posterior|septal)[- ]wall (?=(?:myocardial|infarct|mi\b|stemi|isch))", r"\1 "),
    (
        r"\b(?:infarct(?:ion)?|mi) (?:of|in) (?:the )?(anterior|inferior|lateral|posterior|anteroseptal|anterolateral|inferolateral)"
        r"(?: wall| leads)?\b",
        r"\1 infarction",
    ),
    (
        r"\b(st elevation|isch(?:a)?emia)((?: (?!in\b|with\b)[a-z]+){0,4}) in (?:the )?"
        r"(anteroseptal|anterolateral|inferolateral|anterior|inferior|lateral)(?: chest| limb)? leads\b",
        r"\1 in \3 leads\2",
    ),
    (
        r"\b((?:premature ventricular (?:complexe?|contraction|beat)|ventricular (?:extrasystole|ectopic|premature (?:complexe?|beat))"
        r"|pvc|vpb)s?)((?: [a-z]+){0,4}) (big|trig)emin(?:y|al pattern|us)\b",
        r"\1\2 ventricular \3eminy",
    ),
    (
        r"\bhypertrophy with (?:secondary |associated )?repolari[sz]ation (?:abnormalit(?:y|ies)|changes?)\b",
        "hypertrophy with strain",
    ),
    (r"\b(second degree av block)([^.;]{0,30}?)\b2:1 (?:av )?conduction\b", r"2:1 av block"),
    (
        r"\b(qtc?|pr)( interval)?( (?:is|was|of|at|measures))?((?: [a-z]+ and)? ?\d[\d.]* ?(?:ms|msec|s)?,? (?:which is|and is|and|is|was) )"
        r"(?:markedly |mildly |slightly |borderline )?(prolonged|short)\b",
        r"\5 \1 interval",
    ),
    (r"\b(qtc?|pr)( interval)? (?:is|was|appears|remains) (?:\w+ and |\w+ly )?(prolonged|short)\b", r"\1\2 is \3"),
    (
        r"\brhythm (?:is|was|remains|appears(?: to be)?|seems(?: to be)?|looks)(?: (?:most likely|probably|still|likely|now|again|clearly))? "
        r"(?=sinus\b)",
        "rhythm is ",
    ),
    (
        r"\bsinus\b(?! ?-?(?:rhythm|tachy|brady|arrhythm|arr|pause|arrest|node|exit|beat|complex|capture|rate|p\b|mechanism with))",
        "sinus rhythm",
    ),
    (r"\brhythm is sinus rhythm\b", "sinus rhythm"),
)


@cache
def _sayings() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Compiled when words are first read: whoever only interprets an ECG has none."""
    return tuple((re.compile(pattern), words) for pattern, words in _SAYINGS)


_LEAD = r"(?:v[1-6](?:(?:,[1-6])+| ?(?:-|to|through|\u2013) ?v?[1-6])?|iii|ii|i|avl|avf|avr)(?![a-z0-9])"
_LEADS = re.compile(rf"(?<![a-z0-9]){_LEAD}(?:(?:,? and |, ?|/| ){_LEAD})*")
_ELEVATION = re.compile(r"\bst elevation\b")


def spoken(text: str) -> str:
    """A text in lower case, with one way of saying each thing, and ST elevation in leads told by its territory."""
    low = text.lower()
    for pattern, words in _sayings():
        low = pattern.sub(words, low)
    return re.sub(r"[^.;\n]+", lambda m: _placed(m.group()), low)


def _placed(sentence: str) -> str:
    """ "st elevation in ii, iii, avf" with its territory: leads right behind the words, or in front of them ("in ii and iii there is
    st elevation")."""
    found = _ELEVATION.search(sentence)
    if found is None:
        return sentence
    behind = re.match(
        r"(?: is)?(?: present| seen| noted| of \d[\d.]* ?mm)?(?: in| over| across)?(?: the)?(?: leads?)? ",
        sentence[found.end() :],
    )
    leads = _LEADS.match(sentence, found.end() + behind.end()) if behind else None
    if leads is None:
        ahead = re.search(r"\bin (?:leads? )?(?=v[1-6]|i)", sentence[: found.start()])
        leads = _LEADS.match(sentence, ahead.end()) if ahead else None
    place = _territory(_lead_names(leads.group())) if leads else ""
    return _ELEVATION.sub(f"st elevation in {place} leads", sentence, count=1) if place else sentence


def _lead_names(words: str) -> set[str]:
    out = set(re.findall(r"(?<![a-z])(?:iii|ii|i|avl|avf)(?![a-z])", words))
    for first, last in re.findall(r"v([1-6])(?: ?(?:-|to|through|\u2013) ?v?([1-6]))?", words):
        out |= {f"v{k}" for k in range(int(first), int(last or first) + 1)}
    for many in re.findall(r"v[1-6](?:,[1-6])+(?![0-9])", words):  # v4,5,6
        out |= {f"v{k}" for k in re.findall(r"[1-6]", many)}
    return out


def leads_in(text: str) -> tuple[str, ...]:
    """The standard leads that a text names, in their order: "II, III and aVF", "V2-V5", "leads V1 to V3". A lone "I" is only a lead
    beside others or behind the word."""
    low = text.lower()
    names: set[str] = set()
    for match in _LEADS.finditer(low):
        words = match.group()
        if words == "i" and not re.search(r"\b(?:leads?|in) $", low[: match.start()]):
            continue
        names |= _lead_names(words) | set(re.findall(r"(?<![a-z])avr(?![a-z])", words))
    order = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    return tuple(lead for lead in order if lead.lower() in names)


def _territory(leads: set[str]) -> str:
    """Which wall leads look at; "" where they are of no one."""
    inferior, lateral = len(leads & {"ii", "iii", "avf"}) >= 2, len(leads & {"i", "avl", "v5", "v6"}) >= 2
    anterior, septal = len(leads & {"v2", "v3", "v4"}) >= 2, "v1" in leads and "v2" in leads
    if inferior:
        return "" if anterior or septal else "inferolateral" if lateral else "inferior"
    if lateral:
        return "anterolateral" if anterior else "" if septal else "lateral"
    return "anteroseptal" if septal and anterior else "anterior" if anterior else ""


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda w: (-len(w), w))
    return re.compile(r"(?<![a-z0-9])(?:" + "|".join(re.escape(w) for w in longest_first) + r")(?![a-z0-9])")


def _asserted(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    return (words for words, said in _mentioned(text, pattern) if said)


def _mentioned(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, bool]]:
    """The wordings in a text, and whether each is asserted."""
    for clause, but_for in _parted(text):
        plain = _DOUBT.sub(lambda m: " " * len(m.group()), clause)
        none = _DENIES_ALL.search(plain) is not None
        after, before = _DENIES_AFTER.search(plain), _DENIES_BEFORE.search(plain)
        first = 0 if before is None else before.start()
        last = len(clause) if after is None else after.start()
        in_part = but_for or _in_part(clause)
        for match in pattern.finditer(clause):
            words = match.group()
            said = first <= match.start() or match.end() > first  # "rhythm cannot be determined" holds its own denial
            if not (in_part and _NAME_OF.get(words) == "normal_ecg"):
                yield words, said and match.start() < last and not none


_ARTICLES = re.compile(r"(?<![a-z])(?:the|an|a(?! (?:fib|flutter)(?![a-z]))) ")


def _clauses(text: str) -> Iterator[str]:
    return (clause for clause, _ in _parted(text))


def _parted(text: str) -> Iterator[tuple[str, bool]]:
    """Clauses in lower case without hyphens, and whether their sentence excepts something. A comma ends one, unless "or" later in the
    sentence carries a denial on: "no A, B or C"."""
    low = text.lower().translate(_UMLAUTS)
    low = re.sub(r"(?<![a-z])a ?[-/. ] ?v(?![a-z0-9])\.?", "av", low)
    low = re.sub(r"(?<=\d)\.(?=\s*(?:grad|degree))|(?<=\d):(?=\d)", " ", low)
    for sentence in re.split(r"[.;\n\r|]+|:(?=\s)|\b(?:but|aber)\b", low):
        for part in [sentence] if _lists(sentence) else _split(sentence):
            yield _ARTICLES.sub("", _BLANKS.sub(" ", part)).strip(), _BUT_FOR.search(sentence) is not None


_UNLIKELY = re.compile(r"(?<![a-z])(?:unlikely|less likely|improbable|unwahrscheinlich)\s*$")


def _split(sentence: str) -> Iterator[str]:
    """A sentence at its commas and "with"; not where what follows judges the whole ("SVT with aberrancy less likely")."""
    for part in sentence.split(","):
        yield from [part] if _UNLIKELY.search(part) else re.split(r"\b(?:with|mit)\b", part)


def _lists(sentence: str) -> bool:
    """Whether a denial is carried on over commas: "no A, B or C". Step by step, since a pattern would try all ways."""
    denial = re.search(r"\b(?:no|not|without|can reveal|can show|keine?n?|ohne)\b", sentence)
    comma = sentence.find(",", denial.end()) if denial else -1
    return comma >= 0 and re.search(r"\b(?:or|nor|oder)\b", sentence[comma:]) is not None


def _in_part(clause: str) -> bool:
    """Whether a normal is one of a part ("PR within normal limits") or but for something."""
    limits = clause.rfind("within normal limits")
    return limits >= 0 and _PART.search(clause, 0, limits) is not None


def _plain(words: str) -> str:
    """As clauses are written: lower case, letters and digits alone."""
    return next(iter(_clauses(words)), "")


@cache
def _wordings() -> re.Pattern[str]:
    """Any wording of any statement."""
    return _pattern([*(w for w, _ in _WORDS), *_OF_TWO])
