# ruff: noqa: E501  (texts as they are written)
"""Sentences as readers and language models write them, and what a cardiologist takes from each: statements by name.

With negations, doubt, and the words that a search for substrings falls into (NORM in ABNORMAL, ST in STTC, MI in MINIMAL, "not
LBBB"). PAIRS were written by whoever made the scorer; BLIND_BEFORE and BLIND by others, who had seen the vocabulary and not the
scorer. The scorer was mended by the first two. After BLIND was read nothing was changed.
"""

from __future__ import annotations

PAIRS: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(names.split()))
    for text, names in (
        ("Sinus rhythm. Normal ECG.", "sinus_rhythm normal_ecg"),
        ("Abnormal ECG.", "abnormal_ecg"),
        ("This is not a normal ECG.", ""),
        ("The ECG shows sinus rhythm at 72 bpm with a normal axis.", "sinus_rhythm axis_normal"),
        ("Atrial fibrillation with rapid ventricular response.", "atrial_fibrillation"),
        ("No atrial fibrillation is seen.", ""),
        ("There is no evidence of atrial fibrillation or flutter.", ""),
        ("Atrial fibrillation has been replaced by sinus rhythm.", "sinus_rhythm"),
        ("Sinus rhythm has replaced atrial fibrillation.", "sinus_rhythm"),
        ("Left bundle branch block.", "clbbb"),
        ("The QRS is wide, but this is not LBBB.", ""),
        ("Incomplete right bundle branch block.", "irbbb"),
        ("RBBB and left anterior fascicular block.", "crbbb lafb"),
        ("Neither RBBB nor LBBB is present.", ""),
        ("Minimal voltage criteria for LVH, may be a normal variant.", "lvh_voltage"),
        ("ST-T changes are absent.", ""),
        ("Normal sinus rhythm without ST elevation or depression.", "sinus_rhythm"),
        ("ST elevation in anterior leads, consistent with acute myocardial infarction.", "st_elevation_anterior stemi"),
        ("ST depression in the lateral leads.", "st_depression"),
        ("Inferior infarction, age undetermined.", "mi_inferior"),
        ("Old inferior myocardial infarction cannot be ruled out.", "mi_inferior"),
        ("An inferior infarction has been ruled out.", ""),
        ("No pathological Q waves; no signs of infarction.", ""),
        ("Q waves in II, III and aVF suggest an old inferior infarct.", "q_waves mi_inferior"),
        ("First-degree AV block; no second- or third-degree block.", "first_degree_av_block"),
        ("PR interval is prolonged: first degree AV block.", "first_degree_av_block prolonged_pr"),
        ("Second degree AV block, Mobitz I (Wenckebach).", "second_degree_av_block mobitz_1"),
        ("Complete heart block with a junctional escape rhythm.", "complete_av_block junctional_escape"),
        ("Frequent premature ventricular complexes, no runs of ventricular tachycardia.", "pvc"),
        ("Occasional PVCs.", "pvc"),
        ("No ectopic beats, PVCs or PACs.", ""),
        ("Sinus bradycardia, otherwise normal ECG.", "sinus_bradycardia normal_ecg"),
        ("Sinus tachycardia is unlikely; the rhythm is atrial flutter.", "atrial_flutter"),
        ("The rhythm is sinus rhythm rather than atrial flutter.", "sinus_rhythm"),
        ("Left axis deviation, left ventricular hypertrophy with strain.", "axis_left lvh lv_strain"),
        ("The axis is normal. There are no voltage criteria for left ventricular hypertrophy.", "axis_normal"),
        ("Left atrial enlargement is possible.", "lae"),
        ("T wave inversion in V1 to V4.", "t_inversion"),
        ("T waves are upright; no T wave inversion.", ""),
        ("Nonspecific T wave abnormality.", "nonspecific_t"),
        ("Prolonged QT interval.", "long_qt"),
        ("QT interval is not prolonged.", ""),
        ("The QTc is within normal limits.", ""),
        ("Low QRS voltage in the limb leads.", "low_voltage"),
        ("Ventricular paced rhythm.", "ventricular_paced"),
        ("No pacemaker spikes.", ""),
        ("WPW pattern with a short PR interval and delta waves.", "preexcitation short_pr"),
        ("Poor R wave progression, possibly old anterior infarct.", "poor_r_progression mi_anterior"),
        ("Ischemia is suspected in the anterolateral leads.", "ischaemia_anterolateral"),
        ("No acute ischemia.", ""),
        ("Negative for ischemia; digitalis effect.", "digitalis_effect"),
        ("Rechtsschenkelblock. Kein Hinweis auf Infarkt.", "crbbb"),
        ("Sinusrhythmus, Linkstyp, unspezifisch abnormales T.", "sinus_rhythm axis_left nondiagnostic_t"),
        ("Vorhofflimmern, kein Vorhofflattern.", "atrial_fibrillation"),
        ("Poor data quality, interpretation may be adversely affected.", "poor_quality"),
        ("The rhythm cannot be determined.", "undetermined_rhythm"),
        ("Suspect arm lead reversal.", "limb_lead_reversal"),
        ("Atrial fibrillation is excluded. Sinus arrhythmia.", "sinus_arrhythmia"),
        ("There is right bundle branch block and there are no ST changes of ischemia.", "crbbb"),
        ("LBBB, which was not present before.", "clbbb"),
        ("Premature atrial contractions; PVCs are not seen.", "pac"),
        ("Except for first degree AV block, the ECG is normal.", "first_degree_av_block"),
        ("ECG within normal limits except for sinus bradycardia.", "sinus_bradycardia"),
        ("Supraventricular tachycardia at 180/min, not ventricular tachycardia.", "supraventricular_tachycardia"),
        ("Acute pericarditis is less likely than early repolarization.", "early_repolarisation"),
        ("The patient has a history of atrial fibrillation; today sinus rhythm.", "sinus_rhythm"),
        ("Compared with the previous ECG, the left bundle branch block is no longer present.", ""),
        ("Lateral infarct of undetermined age, no inferior infarct.", "mi_lateral"),
        ("Hypertrophy is not evident, although left axis deviation is.", "axis_left"),
        ("Atrial flutter with 2:1 AV conduction; no complete heart block.", "atrial_flutter av_block_2_1"),
    )
)

BLIND_BEFORE: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(names.split()))
    for text, names in (
        # English: machine statements and short over-reads
        ("NORMAL SINUS RHYTHM. NORMAL ECG.", "sinus_rhythm normal_ecg"),
        ("SINUS BRADYCARDIA. OTHERWISE NORMAL ECG.", "sinus_bradycardia normal_ecg"),
        (
            "Sinus rhythm. Left axis deviation. Minimal voltage criteria for LVH, may be normal variant. Borderline ECG.",
            "sinus_rhythm axis_left lvh_voltage borderline_ecg",
        ),
        (
            "ATRIAL FIBRILLATION WITH RAPID VENTRICULAR RESPONSE. NONSPECIFIC ST AND T WAVE ABNORMALITY. ABNORMAL ECG.",
            "atrial_fibrillation nonspecific_st nonspecific_t abnormal_ecg",
        ),
        (
            "Sinus tachycardia, rate 118. Possible left atrial enlargement. Inferior infarct, age undetermined. Abnormal ECG.",
            "sinus_tachycardia lae mi_inferior abnormal_ecg",
        ),
        (
            "Normal sinus rhythm with 1st degree A-V block. Right bundle branch block. Left anterior fascicular block. *** Trifascicular block ***. Abnormal ECG.",
            "sinus_rhythm first_degree_av_block crbbb lafb trifascicular_block abnormal_ecg",
        ),
        ("Sinus rhythm with frequent PVCs in a pattern of bigeminy.", "sinus_rhythm pvc ventricular_bigeminy"),
        ("Electronic ventricular pacemaker. No further analysis attempted due to paced rhythm.", "ventricular_paced"),
        (
            "Atrial flutter with 4:1 conduction. Low voltage QRS. Cannot rule out anterior infarct, age undetermined. Abnormal ECG.",
            "atrial_flutter low_voltage mi_anterior abnormal_ecg",
        ),
        (
            "Sinus rhythm with marked sinus arrhythmia. Otherwise normal ECG. When compared with ECG of 12-MAR-2014, premature ventricular complexes are no longer present.",
            "sinus_rhythm sinus_arrhythmia normal_ecg",
        ),
        ("NSR, LAD, LAFB, poor R wave progression.", "sinus_rhythm axis_left lafb poor_r_progression"),
        (
            "Sinus rhythm with short PR. Nonspecific T wave changes. Prolonged QT. Abnormal ECG.",
            "sinus_rhythm short_pr nonspecific_t long_qt abnormal_ecg",
        ),
        (
            "Normal sinus rhythm. Rightward axis deviation (+115 degrees). Incomplete RBBB. Possible right ventricular hypertrophy.",
            "sinus_rhythm axis_right irbbb rvh",
        ),
        ("Wide QRS tachycardia. Abnormal ECG.", "wide_qrs_tachycardia abnormal_ecg"),
        ("Suspect arm lead reversal, interpretation assumes no reversal. Sinus rhythm.", "limb_lead_reversal sinus_rhythm"),
        (
            "Sinus rhythm. T wave abnormality, consider lateral ischemia. Abnormal ECG.",
            "sinus_rhythm t_abnormal ischaemia_lateral abnormal_ecg",
        ),
        ("Sinus rhythm with premature atrial complexes. LVH with strain pattern.", "sinus_rhythm pac lvh lv_strain"),
        ("Accelerated junctional rhythm, 84 bpm, no visible P waves. No ischaemic changes.", "accelerated_junctional"),
        (
            "Sinus bradycardia at 46 bpm, normal axis, early repolarization. No acute ST changes.",
            "sinus_bradycardia axis_normal early_repolarisation",
        ),
        ("Sinus rhythm. Nonspecific intraventricular conduction delay (QRS 124 ms), not LBBB.", "sinus_rhythm ivcd"),
        ("AV dual-paced rhythm with atrial pacing and ventricular pacing at 60/min.", "atrial_paced ventricular_paced"),
        (
            "Baseline wander and muscle artifact, poor data quality, interpretation may be adversely affected. Sinus tachycardia.",
            "poor_quality sinus_tachycardia",
        ),
        ("Acute inferior STEMI with reciprocal ST depression in I and aVL.", "stemi mi_inferior st_depression"),
        ("Undetermined rhythm. Left bundle branch block. ABNORMAL ECG.", "undetermined_rhythm clbbb abnormal_ecg"),
        ("Sinus rhythm, second degree AV block, Mobitz type I (Wenckebach).", "sinus_rhythm mobitz_1"),
        ("Minimal ST depression, lateral leads. Borderline ECG.", "st_depression borderline_ecg"),
        (
            "Anterolateral ST elevation, consider acute infarct or injury. Sinus rhythm, 92 bpm.",
            "st_elevation_anterolateral mi_anterolateral sinus_rhythm",
        ),
        (
            "Right and left arm electrodes correctly placed. Normal sinus rhythm, normal PR, normal QRS, normal QTc.",
            "sinus_rhythm",
        ),
        # English: cardiologists
        (
            "Regular sinus rhythm at 72/min with a normal axis. PR 168 ms, QRS 92 ms, QTc 412 ms. No evidence of ischaemia, infarction or hypertrophy. Normal ECG.",
            "sinus_rhythm axis_normal normal_ecg",
        ),
        (
            "Irregularly irregular rhythm without P waves, consistent with AF, ventricular rate about 130. The previous tracing showed sinus rhythm. No ST elevation.",
            "atrial_fibrillation",
        ),
        (
            "Complete heart block with a junctional escape rhythm at 42 bpm. No ventricular ectopy.",
            "complete_av_block junctional_escape",
        ),
        (
            "Sinus rhythm. The LBBB seen on the previous ECG has resolved; QRS duration is now 94 ms. T-wave inversion V1-V4, probably cardiac memory rather than ischaemia.",
            "sinus_rhythm t_inversion",
        ),
        (
            "Short PR interval with delta waves, typical WPW pattern. No supraventricular tachycardia on this tracing.",
            "short_pr preexcitation",
        ),
        (
            "Narrow-complex regular tachycardia at 188 bpm, most likely SVT. Sinus tachycardia is unlikely at this rate.",
            "supraventricular_tachycardia",
        ),
        (
            "Monomorphic VT at 170/min with AV dissociation and an extreme (northwest) axis.",
            "ventricular_tachycardia av_dissociation axis_extreme",
        ),
        (
            "Sinus rhythm with RBBB and left posterior fascicular block. This is bifascicular block. PR interval normal.",
            "sinus_rhythm crbbb lpfb bifascicular_block",
        ),
        (
            "LBBB, with concordant ST elevation fulfilling Sgarbossa criteria: ST changes of infarction until proven otherwise.",
            "clbbb ste_mi_equivalent_lbbb",
        ),
        (
            "Diffuse concave ST elevation with PR depression in keeping with acute pericarditis. STEMI is considered unlikely.",
            "pericarditis",
        ),
        (
            "Pathological Q waves in II, III and aVF in keeping with an old inferior myocardial infarction. No acute ST-T changes.",
            "q_waves mi_inferior",
        ),
        (
            "Patient with a history of atrial fibrillation and inferior MI. Today sinus rhythm, 64 bpm, without pathological Q waves.",
            "sinus_rhythm",
        ),
        ("Coved ST elevation in V1-V2, suggestive of type 1 Brugada pattern. No prior ECG for comparison.", "brugada"),
        ("Peaked, narrow T waves; consider hyperkalaemia. P waves cannot be seen; no pacing spikes.", "tall_t"),
        (
            "Downsloping 'reverse tick' ST segments consistent with digoxin effect. Atrial fibrillation with a controlled ventricular rate.",
            "digitalis_effect atrial_fibrillation",
        ),
        (
            "Prominent U waves and flattened T waves, suggesting hypokalaemia. QTc is within normal limits.",
            "u_waves low_t electrolyte_or_drug",
        ),
        ("2:1 AV block, ventricular rate 38. Could represent Mobitz II. RBBB.", "av_block_2_1 mobitz_2 crbbb"),
        (
            "Persistent anterior ST elevation with Q waves in V2-V4, compatible with left ventricular aneurysm following previous anterior MI.",
            "st_elevation_anterior q_waves aneurysm mi_anterior",
        ),
        (
            "No LBBB, no RBBB, no fascicular block and no pre-excitation. Sinus arrhythmia is noted, which is a normal finding in a young person.",
            "sinus_arrhythmia",
        ),
        (
            "Posterior MI suspected: horizontal ST depression V1-V3 with tall R waves. Posterior leads advised.",
            "mi_posterior st_depression",
        ),
        (
            "Compared with 03/02/2019: first-degree AV block is new, T-wave inversions in the lateral leads are unchanged, and PACs are no longer seen. Sinus rhythm throughout.",
            "first_degree_av_block t_inversion sinus_rhythm",
        ),
        (
            "Ectopic atrial rhythm with inverted P waves inferiorly. T waves upright. Axis normal.",
            "ectopic_atrial_rhythm axis_normal",
        ),
        ("Multifocal ventricular extrasystoles, one couplet. No runs of VT. Underlying rhythm sinus.", "pvc sinus_rhythm"),
        (
            "Sinus rhythm. A pause of 3.2 s is followed by a junctional escape beat; neither Mobitz I nor Mobitz II block is demonstrated.",
            "sinus_rhythm pause",
        ),
        (
            "Dextrocardia, or right/left arm reversal with reversed precordial leads. Otherwise no diagnosis can be made.",
            "dextrocardia",
        ),
        (
            "P mitrale in II and V1 consistent with left atrial enlargement; no right atrial enlargement. Left ventricular hypertrophy by Cornell criteria without strain.",
            "lae lvh",
        ),
        (
            "P pulmonale, right axis deviation and dominant R in V1 in keeping with RVH. LVH criteria are not met.",
            "rae axis_right rvh",
        ),
        (
            "Sinus rhythm. Slow R-wave progression, probably due to lead placement rather than anteroseptal infarction.",
            "sinus_rhythm poor_r_progression precordial_misplacement",
        ),
        (
            "Biphasic T waves in V2-V3 (Wellens), worrying for anterior ischaemia. Troponin pending.",
            "t_abnormal ischaemia_anterior",
        ),
        ("Coarse ventricular fibrillation.", "ventricular_fibrillation"),
        (
            "Accelerated idioventricular rhythm, 75 bpm, after thrombolysis. ST elevation in the inferior leads has settled.",
            "accelerated_idioventricular",
        ),
        ("Tracing uninterpretable; please repeat.", "unreadable"),
        # English: language-model prose
        (
            "The ECG shows a regular rhythm with a P wave before every QRS complex, consistent with normal sinus rhythm at about 75 beats per minute. The PR interval, QRS duration and QT interval are all within normal limits. There are no signs of ST elevation, ST depression, or T wave inversion. Overall, this is a normal ECG.",
            "sinus_rhythm normal_ecg",
        ),
        (
            "Based on the image provided, the electrocardiogram demonstrates atrial fibrillation, characterized by the absence of distinct P waves and an irregularly irregular ventricular response. Additionally, there is a left axis deviation. There is no clear evidence of bundle branch block or acute infarction.",
            "atrial_fibrillation axis_left",
        ),
        (
            "The tracing reveals sinus rhythm with a widened QRS complex and an rSR' pattern in V1, which is indicative of a complete right bundle branch block. The axis appears normal. Secondary T wave inversions in V1-V3 are expected in this setting and do not suggest ischemia.",
            "sinus_rhythm crbbb axis_normal t_inversion",
        ),
        (
            "The ECG is abnormal. It shows sinus tachycardia and diffuse non-specific ST-T changes, which could be due to electrolyte imbalance or a drug effect. Clinical correlation is recommended.",
            "abnormal_ecg sinus_tachycardia nonspecific_st nonspecific_t electrolyte_or_drug",
        ),
        (
            "This ECG is not normal. The rhythm is sinus, but there is ST elevation in the inferior leads (II, III, aVF), suggesting an acute inferior myocardial infarction. Reciprocal ST depression is present in aVL.",
            "abnormal_ecg sinus_rhythm st_elevation_inferior mi_inferior st_depression",
        ),
        (
            "In this ECG the heart rate is approximately 52 bpm, which indicates sinus bradycardia. The bradycardia is likely physiological, for example in an athlete. No AV block is seen and the QRS complexes are narrow.",
            "sinus_bradycardia",
        ),
        (
            "The most striking feature is the high QRS voltage in the precordial leads, which meets voltage criteria for left ventricular hypertrophy. There is no associated strain pattern. The underlying rhythm is sinus rhythm.",
            "high_voltage lvh_voltage sinus_rhythm",
        ),
        (
            "The findings suggest an old anteroseptal myocardial infarction, with Q waves in V1 through V3. There are no acute ischemic changes. An incomplete left bundle branch block cannot be excluded.",
            "mi_anteroseptal q_waves ilbbb",
        ),
        (
            "I do not see any features of atrial flutter, atrial fibrillation or supraventricular tachycardia in this recording. The QTc is 495 ms, so the QT interval is prolonged. Everything else is unremarkable.",
            "long_qt",
        ),
        (
            "The ECG shows a paced rhythm with pacing spikes preceding each wide QRS complex, indicating ventricular pacing. Because of this, ischaemia and hypertrophy cannot be assessed.",
            "ventricular_paced",
        ),
        (
            "The ECG appears to show a prolonged PR interval, otherwise the intervals are normal. There is a single premature ventricular contraction in the rhythm strip. No premature atrial contractions were found.",
            "prolonged_pr pvc",
        ),
        (
            "Although the computer reads this as an anterior infarct, I disagree: the R waves progress normally and there are no Q waves. The rhythm is sinus with a normal axis, and I would call this a normal ECG.",
            "sinus_rhythm axis_normal normal_ecg",
        ),
        (
            "The T waves are inverted in leads V4-V6, I and aVL, raising concern for anterolateral ischemia. The ST segments are isoelectric. Left bundle branch block is absent.",
            "t_inversion ischaemia_anterolateral",
        ),
        (
            "It is difficult to assess this ECG because of noise, and the signal quality is poor. Nevertheless, the rhythm is most likely atrial flutter with variable block rather than atrial fibrillation.",
            "poor_quality atrial_flutter",
        ),
        (
            "**Rhythm:** Sinus rhythm\n**Rate:** 68 bpm\n**Axis:** Normal\n**ST segments:** No elevation or depression\n**Impression:** Normal ECG",
            "sinus_rhythm axis_normal normal_ecg",
        ),
        (
            "- Rhythm: junctional rhythm, no P waves\n- Axis: left axis deviation\n- Conduction: no bundle branch block\n- ST-T: nonspecific T-wave changes\n- Conclusion: abnormal ECG",
            "junctional_rhythm axis_left nonspecific_t abnormal_ecg",
        ),
        (
            "To diagnose atrial fibrillation, one would expect absent P waves and irregular RR intervals. Here the P waves are clearly visible and regular, so the patient is in sinus rhythm. A right-axis deviation is the only abnormality.",
            "sinus_rhythm axis_right",
        ),
        ("There is no ECG evidence of myocardial infarction, and no conduction abnormality was identified.", ""),
        # German, as in PTB-XL
        ("sinusrhythmus lagetyp normal normales ekg", "sinus_rhythm axis_normal normal_ecg"),
        ("sinusbradykardie sonst normales ekg", "sinus_bradycardia normal_ecg"),
        ("sinusrhythmus überdrehter linkstyp linksanteriorer hemiblock", "sinus_rhythm axis_left lafb"),
        (
            "vorhofflimmern mit schneller überleitung. unspezifisch abnormales t. pathologisches ekg",
            "atrial_fibrillation nonspecific_t abnormal_ecg",
        ),
        ("sinusrhythmus. p-sinistrocardiale. inferiorer infarkt alter unbest.", "sinus_rhythm lae mi_inferior"),
        ("sinustachykardie, inkompletter rechtsschenkelblock, kein hinweis auf ischämie", "sinus_tachycardia irbbb"),
        ("sinusrhythmus av-block i. grades. ventrikuläre extrasystole(n)", "sinus_rhythm first_degree_av_block pvc"),
        (
            "sinusrhythmus. linksschenkelblock. keine supraventrikulären extrasystolen, kein vorhofflimmern",
            "sinus_rhythm clbbb",
        ),
        ("sinusrhythmus mit supraventrikulären extrasystolen, periphere niederspannung", "sinus_rhythm pac low_voltage"),
        ("verdacht auf linksventrikuläre hypertrophie. st-senkung. qt-zeit nicht verlängert", "lvh st_depression"),
        ("ventrikulärer schrittmacherrhythmus, keine weitere auswertung", "ventricular_paced"),
        (
            "vorhofflattern. anteroseptaler infarkt nicht auszuschliessen. kein rechtsschenkelblock",
            "atrial_flutter mi_anteroseptal",
        ),
    )
)

BLIND: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(names.split()))
    for text, names in (
        # ECG machines (20)
        ("Normal sinus rhythm. Possible left atrial enlargement. Borderline ECG.", "sinus_rhythm lae borderline_ecg"),
        (
            "SINUS BRADYCARDIA WITH 1ST DEGREE A-V BLOCK. OTHERWISE NORMAL ECG. WHEN COMPARED WITH ECG OF 12-MAR-2019, PREMATURE VENTRICULAR COMPLEXES ARE NO LONGER PRESENT.",
            "sinus_bradycardia first_degree_av_block normal_ecg",
        ),
        (
            "Atrial fibrillation with rapid ventricular response. Low voltage QRS. Cannot rule out Anterior infarct, age undetermined. Abnormal ECG.",
            "atrial_fibrillation low_voltage mi_anterior abnormal_ecg",
        ),
        (
            "Sinus rhythm with frequent premature ventricular complexes in a pattern of bigeminy. Abnormal ECG.",
            "sinus_rhythm pvc ventricular_bigeminy abnormal_ecg",
        ),
        (
            "** ** ACUTE MI / STEMI ** ** Sinus tachycardia. Inferior infarct, possibly acute. Abnormal ECG.",
            "stemi sinus_tachycardia mi_inferior abnormal_ecg",
        ),
        ("Electronic ventricular pacemaker. Abnormal ECG. No further analysis attempted.", "ventricular_paced abnormal_ecg"),
        (
            "Normal sinus rhythm. Right bundle branch block. Left anterior fascicular block. *** Bifascicular block *** Abnormal ECG.",
            "sinus_rhythm crbbb lafb bifascicular_block abnormal_ecg",
        ),
        (
            "Vent. rate 72 BPM, PR interval 158 ms, QRS duration 86 ms, QT/QTc 398/435 ms, P-R-T axes 54 31 47. Normal sinus rhythm. Normal ECG. No previous ECGs available.",
            "sinus_rhythm normal_ecg",
        ),
        (
            "Sinus rhythm with marked sinus arrhythmia. Incomplete right bundle branch block. Borderline ECG.",
            "sinus_rhythm sinus_arrhythmia irbbb borderline_ecg",
        ),
        (
            "Suspect arm lead reversal, interpretation assumes no reversal. Sinus rhythm. Rightward axis.",
            "limb_lead_reversal sinus_rhythm axis_right",
        ),
        (
            "Sinus rhythm. Left ventricular hypertrophy with repolarization abnormality. Prolonged QT. Abnormal ECG.",
            "sinus_rhythm lvh lv_strain long_qt abnormal_ecg",
        ),
        (
            "Poor data quality, interpretation may be adversely affected. Undetermined rhythm. Nonspecific T wave abnormality. Abnormal ECG.",
            "poor_quality undetermined_rhythm nonspecific_t abnormal_ecg",
        ),
        (
            "Atrial flutter with variable A-V block. Nonspecific ST abnormality. Abnormal ECG. Atrial flutter has replaced sinus rhythm since tracing of 04-JUN-2021.",
            "atrial_flutter nonspecific_st abnormal_ecg",
        ),
        (
            "Sinus rhythm. ST elevation, probably due to early repolarization. Borderline ECG.",
            "sinus_rhythm st_elevation early_repolarisation borderline_ecg",
        ),
        ("Wide QRS tachycardia. Abnormal ECG. Unconfirmed report.", "wide_qrs_tachycardia abnormal_ecg"),
        (
            "Sinus tachycardia. Right atrial enlargement. Right axis deviation. Pulmonary disease pattern. Right ventricular hypertrophy.",
            "sinus_tachycardia rae axis_right rvh",
        ),
        (
            "Ventricular pre-excitation, WPW pattern type A. Short PR interval. Abnormal ECG.",
            "preexcitation short_pr abnormal_ecg",
        ),
        (
            "Normal sinus rhythm. Minimal voltage criteria for LVH, may be normal variant. Borderline ECG.",
            "sinus_rhythm lvh_voltage borderline_ecg",
        ),
        (
            "Sinus rhythm with Premature atrial complexes. Left axis deviation. Nonspecific intraventricular block. Septal and anterior leads without significant ST change.",
            "sinus_rhythm pac axis_left ivcd",
        ),
        (
            "SR. Fusion complexes. Premature supraventricular complexes are no longer Present. QT has shortened. T wave inversion no longer evident in Lateral leads.",
            "sinus_rhythm",
        ),
        # cardiologists (30)
        (
            "NSR at 68. Normal axis. PR 160, QRS 88, QTc 412. No acute ST-T changes. Normal ECG.",
            "sinus_rhythm axis_normal normal_ecg",
        ),
        ("AF with a ventricular rate of about 130/min, LBBB. No Sgarbossa criteria.", "atrial_fibrillation clbbb"),
        ("Sinus rhythm, LAD -45 degrees, LAHB. No LVH by voltage, no RBBB.", "sinus_rhythm axis_left lafb"),
        (
            "Complete heart block with a junctional escape at 42 bpm. Needs pacing; not yet paced.",
            "complete_av_block junctional_escape",
        ),
        ("2nd degree AV block, type I (Wenckebach), rather than Mobitz II. Underlying sinus rhythm.", "mobitz_1 sinus_rhythm"),
        (
            "Hyperacute ST elevation V1 to V4 in keeping with an acute anteroseptal STEMI. Reciprocal ST depression in III and aVF.",
            "st_elevation_anteroseptal mi_anteroseptal stemi st_depression",
        ),
        ("History of paroxysmal AF, but sinus rhythm today. Occasional VPBs. QTc normal.", "sinus_rhythm pvc"),
        ("Old inferior MI with Q waves in II, III and aVF. No evidence of acute ischaemia.", "mi_inferior q_waves"),
        (
            "Diffuse concave ST elevation with PR depression, consistent with pericarditis. I do not think this is a STEMI.",
            "pericarditis",
        ),
        ("Previously seen LBBB is no longer present; the QRS is now narrow. Sinus brady at 48.", "sinus_bradycardia"),
        ("Coved ST elevation in V1-V2, type 1 Brugada pattern. Sinus rhythm.", "brugada sinus_rhythm"),
        (
            "Regular narrow complex tachycardia at 180/min, SVT, likely AVNRT. Unlikely to be atrial flutter.",
            "supraventricular_tachycardia",
        ),
        (
            "Sinus rhythm. Poor R wave progression across the precordium, probably lead placement rather than anterior infarction.",
            "sinus_rhythm poor_r_progression precordial_misplacement",
        ),
        (
            "Monomorphic VT at 170 bpm with AV dissociation and an extreme north-west axis.",
            "ventricular_tachycardia av_dissociation axis_extreme",
        ),
        ("Peaked T waves, suggest checking potassium; hyperkalaemia suspected. P waves present, sinus.", "tall_t sinus_rhythm"),
        ("Scooped ST segments, dig effect. Atrial fibrillation, controlled rate 74.", "digitalis_effect atrial_fibrillation"),
        ("No AF, flutter or ectopy. No LVH, no bundle branch block, no pre-excitation.", ""),
        (
            "Compared with last year the T wave inversions in V4-V6 have resolved. Sinus rhythm, otherwise unremarkable intervals.",
            "sinus_rhythm",
        ),
        (
            "Sinus rhythm, 1° AVB (PR 240 ms), RBBB and left anterior hemiblock: trifascicular block in common parlance.",
            "sinus_rhythm first_degree_av_block crbbb lafb trifascicular_block",
        ),
        (
            "Atrially paced at 60, conducted with narrow QRS. Normal axis. No ventricular pacing seen.",
            "atrial_paced axis_normal",
        ),
        (
            "Persistent ST elevation V2-V4 with deep Qs after the 2018 infarct; LV aneurysm should be considered.",
            "st_elevation_anterior q_waves aneurysm",
        ),
        ("Incomplete LBBB, not complete. QRS 114 ms. SR 77.", "ilbbb sinus_rhythm"),
        (
            "ST depression of 2 mm in V4-V6 with T inversion, query lateral ischaemia.",
            "st_depression t_inversion ischaemia_lateral",
        ),
        (
            "Flat T waves with prominent U waves; ?hypokalaemia. QTc prolonged at 510 msec.",
            "low_t u_waves electrolyte_or_drug long_qt",
        ),
        (
            "Atrial tachycardia with 2:1 conduction cannot be excluded; sinus tachycardia favoured.",
            "atrial_tachycardia sinus_tachycardia",
        ),
        ("Sinus pause of 3.2 seconds, then resumption of sinus rhythm. No high-grade AV block.", "pause sinus_rhythm"),
        (
            "Posterior MI suspected: tall R and horizontal ST depression in V1-V3. STEMI criteria not met.",
            "mi_posterior st_depression",
        ),
        ("Accelerated idioventricular rhythm at 84 following lysis. Neither VT nor VF.", "accelerated_idioventricular"),
        (
            "Sinus rhythm with P mitrale. Normal QRS axis; no signs of right ventricular hypertrophy or left ventricular hypertrophy.",
            "sinus_rhythm lae axis_normal",
        ),
        ("Uninterpretable tracing. Please repeat.", "unreadable"),
        # language models (30)
        (
            "The ECG shows a regular rhythm with a P wave before every QRS complex, consistent with normal sinus rhythm at approximately 75 beats per minute. The QRS axis is normal. There are no signs of ischemia, infarction, or hypertrophy. Overall, this is a normal ECG.",
            "sinus_rhythm axis_normal normal_ecg",
        ),
        (
            "This 12-lead electrocardiogram demonstrates an irregularly irregular rhythm with absent P waves, which is characteristic of atrial fibrillation. The ventricular rate is around 110 bpm. There is no evidence of ST-segment elevation or depression.",
            "atrial_fibrillation",
        ),
        (
            "The tracing reveals sinus tachycardia at 118 bpm. While the widespread T-wave flattening is nonspecific, it could reflect an electrolyte imbalance. No pathological Q waves are identified.",
            "sinus_tachycardia low_t electrolyte_or_drug",
        ),
        (
            "In leads II, III, and aVF there is marked ST-segment elevation, with reciprocal ST depression in leads I and aVL. These findings are highly suggestive of an acute inferior ST-elevation myocardial infarction. Immediate clinical correlation is advised.",
            "st_elevation_inferior st_depression stemi mi_inferior",
        ),
        (
            "The QRS duration is prolonged at 148 ms with an rSR' pattern in V1 and wide S waves in I and V6, indicating a complete right bundle branch block. The rhythm is sinus. The axis is within normal limits.",
            "crbbb sinus_rhythm axis_normal",
        ),
        (
            "The broad, notched R waves in the lateral leads point to left bundle branch block rather than a nonspecific intraventricular conduction delay. Because of this, ischaemia cannot be reliably assessed.",
            "clbbb",
        ),
        (
            "The PR interval is constant and prolonged at 220 ms, meeting criteria for first-degree atrioventricular block. There is no sign of second- or third-degree block. Sinus rhythm is otherwise maintained.",
            "first_degree_av_block sinus_rhythm",
        ),
        (
            "The heart rate is 52 bpm, indicating sinus bradycardia. The PR interval, QRS duration and QT interval are all within normal limits. ST segments are isoelectric and T waves are upright.",
            "sinus_bradycardia",
        ),
        (
            "High QRS voltages in the precordial leads together with ST depression and T-wave inversion in V5-V6 suggest left ventricular hypertrophy with a strain pattern. The rhythm is sinus. Right ventricular hypertrophy is unlikely.",
            "high_voltage st_depression t_inversion lvh lv_strain sinus_rhythm",
        ),
        (
            "Sawtooth flutter waves are seen in the inferior leads at about 300 per minute, consistent with typical atrial flutter. Atrial fibrillation is less likely given the regular ventricular response.",
            "atrial_flutter",
        ),
        (
            "The short PR interval and the delta wave are compatible with a Wolff-Parkinson-White pattern. No supraventricular tachycardia is seen on this recording.",
            "short_pr preexcitation",
        ),
        (
            "I do not see any clear abnormality in the ST segments or T waves. The rhythm appears to be sinus with occasional premature atrial contractions. There are no premature ventricular contractions.",
            "sinus_rhythm pac",
        ),
        (
            "Based on the image, the ECG is abnormal. It shows left axis deviation and a left anterior fascicular block, and the T waves are inverted in V1 through V4, raising the possibility of anterior ischemia.",
            "abnormal_ecg axis_left lafb t_inversion ischaemia_anterior",
        ),
        (
            "The absence of P waves, with a narrow QRS at 45 bpm, is best explained by a junctional rhythm. Sinus arrest is part of the differential, but atrial fibrillation has been ruled out.",
            "junctional_rhythm",
        ),
        (
            "Every third beat is a premature ventricular complex, producing ventricular trigeminy. Between the ectopic beats, normal sinus rhythm is present. The QT interval is not prolonged.",
            "pvc ventricular_trigeminy sinus_rhythm",
        ),
        (
            "There is a chaotic, rapid waveform without identifiable QRS complexes, diagnostic of ventricular fibrillation. This is a medical emergency.",
            "ventricular_fibrillation",
        ),
        (
            "The QTc is 485 ms, which is prolonged. No Brugada pattern, pre-excitation, or early repolarization was observed. Sinus rhythm, rate 66 bpm.",
            "long_qt sinus_rhythm",
        ),
        (
            "Pacing spikes precede each QRS complex, consistent with a ventricular paced rhythm. The underlying rhythm may be atrial fibrillation. Infarction cannot be assessed in paced beats.",
            "ventricular_paced atrial_fibrillation",
        ),
        (
            "The patient has a history of inferior myocardial infarction and hypertension. The current ECG shows sinus rhythm with right axis deviation, and a left posterior fascicular block is possible. There are no Q waves in the inferior leads.",
            "sinus_rhythm axis_right lpfb",
        ),
        (
            "Compared with the earlier tracing, the ST elevation in the anterior leads has resolved and has been replaced by T-wave inversion. The rhythm remains sinus. There is no new bundle branch block.",
            "t_inversion sinus_rhythm",
        ),
        (
            "The recording is affected by substantial baseline wander and muscle artifact, so signal quality is poor. Within these limits, sinus rhythm seems likely. A definitive assessment of the ST segments is not possible.",
            "poor_quality sinus_rhythm",
        ),
        (
            "Lead I is inverted throughout while R-wave progression in the chest leads is normal, which suggests that the limb leads were reversed. Dextrocardia is therefore unlikely. The rhythm is sinus.",
            "limb_lead_reversal sinus_rhythm",
        ),
        (
            "ST-segment elevation is present in V2-V6, I and aVL, in keeping with an acute anterolateral myocardial infarction. Pathological Q waves have not yet developed. The rhythm is sinus tachycardia rather than supraventricular tachycardia.",
            "st_elevation_anterolateral mi_anterolateral sinus_tachycardia",
        ),
        (
            "The P waves march through at a regular rate, independent of the QRS complexes: this is third-degree AV block. The wide escape at 34 bpm suggests an idioventricular rhythm.",
            "complete_av_block idioventricular_rhythm",
        ),
        (
            "The ECG shows two P waves for every QRS complex, i.e. second-degree AV block with 2:1 conduction. Whether it is Mobitz type I or II cannot be determined from this strip.",
            "av_block_2_1",
        ),
        (
            "Overall the electrocardiogram is not normal: there is low QRS voltage in the limb leads and non-specific T-wave changes. No features of pericarditis are evident.",
            "abnormal_ecg low_voltage nonspecific_t",
        ),
        (
            "The rhythm cannot be sinus, since the P waves are inverted in the inferior leads; an ectopic atrial rhythm is the most likely explanation. The QRS complexes are narrow, without evidence of bundle branch block.",
            "ectopic_atrial_rhythm",
        ),
        (
            "An early repolarisation pattern, with J-point notching in the lateral leads, is a benign finding in this young athlete. Myocardial infarction and pericarditis are not suggested. Phasic variation of the P-P interval indicates sinus arrhythmia.",
            "early_repolarisation sinus_arrhythmia",
        ),
        (
            "Abnormally short QTc of 320 ms. The absence of a delta wave argues against Wolff-Parkinson-White syndrome. Normal sinus rhythm, and the axis is normal.",
            "short_qt sinus_rhythm axis_normal",
        ),
        (
            "The image does not allow me to give a diagnosis. An ECG can reveal conditions such as atrial fibrillation, myocardial infarction or left bundle branch block, but none of these is apparent here.",
            "",
        ),
    )
)

# Written on 2026-11-28 from the texts alone, after the reader of texts was mended by all the sets above, and committed before it was
# run on them. Whoever wrote it had also mended the reader: blind to the outcome, not to the code.
BLIND_2: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(names.split()))
    for text, names in (
        # machine statements (8)
        (
            "SINUS RHYTHM WITH OCCASIONAL PREMATURE ATRIAL COMPLEXES. POSSIBLE INFERIOR INFARCT, AGE UNDETERMINED. ABNORMAL ECG.",
            "sinus_rhythm pac mi_inferior abnormal_ecg",
        ),
        (
            "Atrial fibrillation with slow ventricular response and PVCs. Left axis deviation. Nonspecific T wave abnormality. Abnormal ECG.",
            "atrial_fibrillation pvc axis_left nonspecific_t abnormal_ecg",
        ),
        (
            "Sinus bradycardia with 1st degree A-V block. Incomplete left bundle branch block. Borderline ECG.",
            "sinus_bradycardia first_degree_av_block ilbbb borderline_ecg",
        ),
        ("AV dual-paced rhythm with occasional native complexes. Abnormal ECG.", "paced abnormal_ecg"),
        (
            "Normal sinus rhythm. Right bundle branch block. T wave inversion in inferior leads. No significant change was found since tracing of 02-FEB-2019.",
            "sinus_rhythm crbbb t_inversion",
        ),
        (
            "Sinus tachycardia. Short PR interval. Low voltage QRS in limb leads. Prolonged QT interval or TU fusion, consider hypokalemia. Abnormal ECG.",
            "sinus_tachycardia short_pr low_voltage long_qt electrolyte_or_drug abnormal_ecg",
        ),
        (
            "Supraventricular tachycardia, rate 176. ST depression, probably rate related. Abnormal ECG.",
            "supraventricular_tachycardia st_depression abnormal_ecg",
        ),
        (
            "Sinus rhythm. Borderline prolonged PR interval. Left atrial enlargement. Left ventricular hypertrophy by voltage. Atrial fibrillation is no longer present.",
            "sinus_rhythm prolonged_pr lae lvh",
        ),
        # cardiologists (16)
        ("SR 64, normal axis, no ST/T changes, QTc 418. Nothing acute.", "sinus_rhythm axis_normal"),
        (
            "AF, rate controlled. Old anteroseptal MI with QS in V1-V3. LVH not present.",
            "atrial_fibrillation mi_anteroseptal q_waves",
        ),
        (
            "Inferior STEMI with complete heart block and a slow junctional escape rhythm. RV leads advised.",
            "stemi mi_inferior complete_av_block junctional_escape",
        ),
        ("Sinus rhythm, LBBB. Sgarbossa negative. No AV block.", "sinus_rhythm clbbb"),
        (
            "Broad complex tachycardia, most likely VT; SVT with aberrancy less likely.",
            "wide_qrs_tachycardia ventricular_tachycardia",
        ),
        ("Wenckebach with 4:3 conduction, otherwise sinus rhythm at 70. No Mobitz II.", "mobitz_1 sinus_rhythm"),
        (
            "T inversion V1-V4 and S1Q3T3 in a patient with suspected pulmonary embolism. Sinus tachycardia 112. No RBBB.",
            "t_inversion sinus_tachycardia",
        ),
        ("Ventricular paced throughout, appropriate capture. Underlying AF.", "ventricular_paced atrial_fibrillation"),
        ("Long QT: QTc 520 ms on methadone. No torsades, no ectopy.", "long_qt"),
        ("1° AVB, LAHB and RBBB. Not for pacing at present.", "first_degree_av_block lafb crbbb"),
        (
            "Early repolarisation in the inferolateral leads, no reciprocal changes; this is not pericarditis and not a STEMI.",
            "early_repolarisation",
        ),
        ("Atrial flutter with variable block. The patient was in sinus rhythm on admission.", "atrial_flutter"),
        (
            "Delta waves with a short PR: WPW. Pseudo-infarct Q waves inferiorly, no true infarction.",
            "preexcitation short_pr q_waves",
        ),
        ("Sinus node disease? Sinus bradycardia 38 with pauses; no atrial fibrillation captured.", "sinus_bradycardia pause"),
        ("Normal ECG for age. Sinus arrhythmia. No evidence of RVH, LVH or pre-excitation.", "normal_ecg sinus_arrhythmia"),
        (
            "Low voltages in the limb leads and electrical alternans, raising concern for effusion. Sinus tachycardia. No PR depression to suggest pericarditis.",
            "low_voltage sinus_tachycardia",
        ),
        # language models (12)
        (
            "The electrocardiogram demonstrates a regular sinus rhythm with a ventricular rate of 68 beats per minute. The PR interval, QRS complex, and QT interval fall within normal limits, and no ischemic ST-T changes are identified. Impression: normal ECG.",
            "sinus_rhythm normal_ecg",
        ),
        (
            "There is ST segment elevation in leads V1 through V4 measuring up to 3 mm, along with loss of R wave progression, findings that are consistent with an acute anteroseptal myocardial infarction. No AV block is observed.",
            "st_elevation_anteroseptal poor_r_progression mi_anteroseptal",
        ),
        (
            "The heart rhythm is irregularly irregular without discernible P waves; therefore atrial fibrillation is diagnosed. Features of left ventricular hypertrophy are present, whereas right ventricular hypertrophy is absent.",
            "atrial_fibrillation lvh",
        ),
        (
            "Although the QRS complex is widened to 132 ms, the morphology does not fulfil the criteria for either left or right bundle branch block, so a nonspecific intraventricular conduction delay is the best description.",
            "ivcd",
        ),
        (
            "Frequent premature ventricular contractions occur in a bigeminal pattern. The underlying rhythm is sinus. I cannot identify any ST elevation.",
            "pvc ventricular_bigeminy sinus_rhythm",
        ),
        (
            "The axis is deviated to the left at -52 degrees, fulfilling criteria for a left anterior fascicular block. Left bundle branch block is not present.",
            "axis_left lafb",
        ),
        (
            "Diffuse T-wave flattening and a prominent U wave are visible, which may indicate hypokalemia; digitalis effect is considered unlikely.",
            "low_t u_waves electrolyte_or_drug",
        ),
        (
            "This recording does not show atrial fibrillation. Instead, there are premature atrial complexes on a background of sinus rhythm, which can mimic atrial fibrillation.",
            "pac sinus_rhythm",
        ),
        (
            "Signal quality is poor in leads V4 to V6 due to motion artifact, which limits the evaluation of lateral ischemia. The rhythm is sinus tachycardia.",
            "poor_quality sinus_tachycardia",
        ),
        (
            "Third-degree atrioventricular block is suspected because P waves and QRS complexes are dissociated. A pacemaker rhythm is not seen.",
            "complete_av_block av_dissociation",
        ),
        (
            "The tracing shows biphasic T waves in V2-V3, a pattern reported in proximal LAD stenosis. Sinus rhythm is present, and there are no Q waves.",
            "t_abnormal sinus_rhythm",
        ),
        (
            "Given the clinical history of prior inferior myocardial infarction, Q waves were sought but not found in II, III, and aVF. The ECG is otherwise unremarkable with sinus bradycardia.",
            "sinus_bradycardia",
        ),
        # German (4)
        (
            "Sinusrhythmus, überdrehter Linkstyp, linksanteriorer Hemiblock. Kein Anhalt für akute Ischämie.",
            "sinus_rhythm axis_left lafb",
        ),
        (
            "Vorhofflimmern mit kompletten Linksschenkelblock, einzelne ventrikuläre Extrasystolen.",
            "atrial_fibrillation clbbb pvc",
        ),
        (
            "Sinustachykardie. AV-Block I. Inkompletter Rechtsschenkelblock. Normaltyp, keine Hypertrophiezeichen.",
            "sinus_tachycardia first_degree_av_block irbbb axis_normal",
        ),
        (
            "Alter Hinterwandinfarkt mit pathologischem Q in II, III, aVF; T-Negativierung inferior. Kein Schrittmacher.",
            "mi_inferior q_waves t_inversion",
        ),
    )
)

# The same again, after BLIND_2 had been used to mend the reader.
BLIND_3: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(names.split()))
    for text, names in (
        # machine statements (10)
        (
            "Sinus rhythm. Anterolateral T wave inversion, consider ischemia. Abnormal ECG.",
            "sinus_rhythm t_inversion ischaemia abnormal_ecg",
        ),
        (
            "Ectopic atrial rhythm. Left bundle branch block. Abnormal ECG. No previous ECGs available.",
            "ectopic_atrial_rhythm clbbb abnormal_ecg",
        ),
        (
            "Sinus rhythm with frequent premature ventricular complexes and fusion complexes. Nonspecific intraventricular block.",
            "sinus_rhythm pvc ivcd",
        ),
        (
            "Normal sinus rhythm with sinus arrhythmia. Early repolarization. Normal ECG.",
            "sinus_rhythm sinus_arrhythmia early_repolarisation normal_ecg",
        ),
        ("Atrial-sensed ventricular-paced rhythm. Abnormal ECG.", "ventricular_paced abnormal_ecg"),
        (
            "Junctional rhythm. Nonspecific ST abnormality. Abnormal ECG. Junctional rhythm has replaced sinus rhythm.",
            "junctional_rhythm nonspecific_st abnormal_ecg",
        ),
        (
            "Sinus rhythm. Lateral infarct, old. Right axis deviation. Incomplete right bundle branch block.",
            "sinus_rhythm mi_lateral axis_right irbbb",
        ),
        (
            "Atrial fibrillation. Septal infarct, age undetermined. T wave abnormality, consider inferior ischemia.",
            "atrial_fibrillation mi_anteroseptal t_abnormal ischaemia_inferior",
        ),
        (
            "Undetermined rhythm. Right bundle branch block. Left posterior fascicular block. Bifascicular block.",
            "undetermined_rhythm crbbb lpfb bifascicular_block",
        ),
        ("Sinus bradycardia. Biatrial enlargement not suspected. Otherwise normal ECG.", "sinus_bradycardia normal_ecg"),
        # cardiologists (14)
        ("NSR 72. LAD. LVH with strain. No ischaemia.", "sinus_rhythm axis_left lvh lv_strain"),
        ("Known AF. Today: SR with frequent PACs. QTc 430.", "sinus_rhythm pac"),
        (
            "Anterior STEMI, ST elevation V2-V5. Q waves already in V2-V3. Sinus tachy.",
            "stemi mi_anterior st_elevation_anterior q_waves sinus_tachycardia",
        ),
        ("Posterior extension cannot be excluded. Inferior infarct, recent. Sinus rhythm.", "mi_inferior sinus_rhythm"),
        ("Paced rhythm, 60/min; failure to capture not observed.", "paced"),
        ("Flutter 2:1, rate 150. Adenosine given, no WPW unmasked.", "atrial_flutter"),
        ("Mobitz II with 3:1 conduction and LBBB. Sinus rate 96.", "mobitz_2 clbbb"),
        ("Hyperkalaemia: tall, tented T waves, broad QRS, absent P waves.", "tall_t"),
        ("QT prolonged (QTc 498). U waves. Potassium 2.9.", "long_qt u_waves"),
        (
            "Artefact in the limb leads resembling VT; the QRS marches through. Sinus rhythm, no VT.",
            "poor_quality sinus_rhythm",
        ),
        ("RVH with right axis deviation and p pulmonale. RBBB incomplete.", "rvh axis_right rae irbbb"),
        ("Arm leads reversed. Otherwise sinus rhythm and unremarkable.", "limb_lead_reversal sinus_rhythm"),
        ("ST depression in V3-V6, up to 2 mm, and elevation in aVR: left main or global ischaemia.", "st_depression ischaemia"),
        ("No delta wave. PR 128. Short runs of SVT are not captured here. Sinus rhythm.", "sinus_rhythm"),
        # language models (12)
        (
            "Overall, the ECG is within normal limits: sinus rhythm, normal axis, normal intervals, and no ST-T abnormalities.",
            "normal_ecg sinus_rhythm axis_normal",
        ),
        (
            "The QRS duration of 96 ms excludes bundle branch block. There is left ventricular hypertrophy by the Sokolow-Lyon criterion.",
            "lvh",
        ),
        (
            "Pathological Q waves in leads II, III and aVF are indicative of a previous inferior myocardial infarction, while the anterior leads show no such changes.",
            "q_waves mi_inferior",
        ),
        (
            "The P-R interval measures 224 ms, which is consistent with first-degree AV block. The remaining conduction intervals are normal, and neither second- nor third-degree AV block is present.",
            "first_degree_av_block",
        ),
        (
            "T waves are inverted in leads I, aVL, V5 and V6, suggesting lateral ischemia. There is no ST depression.",
            "t_inversion ischaemia_lateral",
        ),
        (
            "It would be incorrect to call this atrial fibrillation, because P waves precede each QRS complex; the rhythm is sinus with premature atrial beats.",
            "sinus_rhythm pac",
        ),
        (
            "The ECG reveals an irregular rhythm, which could be due to either atrial fibrillation or multifocal atrial tachycardia.",
            "atrial_fibrillation atrial_tachycardia",
        ),
        (
            "There are tall R waves in V1 and a rightward axis, features of right ventricular hypertrophy. Left ventricular hypertrophy and strain are both absent.",
            "axis_right rvh",
        ),
        (
            "A diagnosis of pericarditis is favored over acute myocardial infarction given the widespread concave ST elevation.",
            "pericarditis st_elevation",
        ),
        (
            "Low-amplitude QRS complexes (low voltage) are seen in all limb leads. The rhythm cannot be determined with certainty.",
            "low_voltage undetermined_rhythm",
        ),
        (
            "If the patient has chest pain, an acute coronary syndrome should be considered; the ECG itself shows only nonspecific T wave changes and sinus rhythm.",
            "nonspecific_t sinus_rhythm",
        ),
        (
            "Left atrial enlargement is evident from the broad, notched P wave in lead II. First-degree AV block, if present, is borderline.",
            "lae first_degree_av_block",
        ),
        # German and Swedish (4)
        (
            "Sinusrhythmus, Indifferenztyp, kein Schenkelblock, keine Erregungsrückbildungsstörungen. Normales EKG.",
            "sinus_rhythm axis_normal normal_ecg",
        ),
        (
            "Absolute Arrhythmie bei Vorhofflimmern. Rechtsschenkelblock. ST-Senkung in V4 bis V6.",
            "atrial_fibrillation crbbb st_depression",
        ),
        ("Sinustakykardi. Vänstersidigt skänkelblock. Inga tecken till infarkt.", "sinus_tachycardia clbbb"),
        (
            "Schrittmacher-EKG mit ventrikulärer Stimulation, Grundrhythmus Vorhofflimmern.",
            "ventricular_paced atrial_fibrillation",
        ),
    )
)

# The same again, after BLIND_3 had been used. Nothing is changed by this one.
BLIND_4: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(names.split()))
    for text, names in (
        # machine statements (10)
        ("Sinus rhythm with 2nd degree A-V block (Mobitz I). Abnormal ECG.", "sinus_rhythm mobitz_1 abnormal_ecg"),
        (
            "Normal sinus rhythm. Possible right ventricular hypertrophy. Nonspecific ST and T wave abnormality. Abnormal ECG.",
            "sinus_rhythm rvh nonspecific_st nonspecific_t abnormal_ecg",
        ),
        (
            "Atrial flutter with 2:1 A-V conduction. Left ventricular hypertrophy. Abnormal ECG.",
            "atrial_flutter av_block_2_1 lvh abnormal_ecg",
        ),
        (
            "Sinus bradycardia. Anteroseptal infarct, old. Prolonged QT. When compared with ECG of 03-MAY-2020, T wave inversion is no longer evident.",
            "sinus_bradycardia mi_anteroseptal long_qt",
        ),
        ("Accelerated junctional rhythm. Low voltage QRS. Abnormal ECG.", "accelerated_junctional low_voltage abnormal_ecg"),
        ("Electronic atrial pacemaker. Left bundle branch block. Abnormal ECG.", "atrial_paced clbbb abnormal_ecg"),
        (
            "Sinus rhythm. Premature ventricular complexes. Left atrial enlargement. ST elevation, consider inferior injury or acute infarct.",
            "sinus_rhythm pvc lae st_elevation st_injury_inferior stemi",
        ),
        ("Sinus tachycardia. Otherwise normal ECG. Unconfirmed.", "sinus_tachycardia normal_ecg"),
        (
            "Poor data quality. Sinus rhythm. Left axis deviation. Incomplete left bundle branch block. Borderline ECG.",
            "poor_quality sinus_rhythm axis_left ilbbb borderline_ecg",
        ),
        ("Idioventricular rhythm. Right bundle branch block. Abnormal ECG.", "idioventricular_rhythm crbbb abnormal_ecg"),
        # cardiologists (14)
        ("SR, 1st degree heart block (PR 260). No higher grade block.", "sinus_rhythm first_degree_av_block"),
        ("Rapid AF 148. Lateral ST depression, likely rate-related. Troponin pending.", "atrial_fibrillation st_depression"),
        ("LBBB is old. SR. No new changes.", "clbbb sinus_rhythm"),
        ("Sinus rhythm; T waves inverted III and V1 only (normal variant). No LVH.", "sinus_rhythm t_inversion"),
        ("Complete LBBB with left axis, PVCs in couplets. No VT.", "clbbb axis_left pvc"),
        (
            "Ventricular bigeminy on a background of AF with digoxin effect.",
            "ventricular_bigeminy atrial_fibrillation digitalis_effect",
        ),
        (
            "Deep Q waves in II, III, aVF: old inferior MI. No posterior involvement. Sinus rhythm.",
            "q_waves mi_inferior sinus_rhythm",
        ),
        ("Type 1 Brugada in V1-V2, not seen on the previous ECG. NSR.", "brugada sinus_rhythm"),
        ("Trifascicular disease: RBBB, LAFB and long PR.", "crbbb lafb prolonged_pr"),
        ("Low QRS voltages. AV dissociation, junctional escape at 44.", "low_voltage av_dissociation junctional_escape"),
        (
            "Narrow complex tachycardia terminated by adenosine, now sinus rhythm without pre-excitation.",
            "supraventricular_tachycardia sinus_rhythm",
        ),
        ("Hyperacute T waves? Otherwise NSR. Repeat in 15 min. No ST elevation yet.", "sinus_rhythm"),
        ("Persistent ST elevation V1-V4 since 2017, LV aneurysm. No acute MI.", "st_elevation_anteroseptal aneurysm"),
        ("Dextrocardia excluded: limb leads were swapped and the repeat ECG is normal. Sinus.", "normal_ecg sinus_rhythm"),
        # language models (12)
        (
            "The ECG demonstrates sinus rhythm with a prolonged PR interval of 212 ms and a normal QRS duration. There is no evidence of hypertrophy or ischemia.",
            "sinus_rhythm prolonged_pr",
        ),
        (
            "Right bundle branch block is characterised by the rsR' complex in V1; the left anterior fascicle conducts normally, so bifascicular block is not diagnosed.",
            "crbbb",
        ),
        (
            "No definite abnormality was detected. The rhythm strip shows sinus rhythm, and the tracing is normal for the patient's age.",
            "sinus_rhythm normal_ecg",
        ),
        (
            "Widespread ST-segment depression with ST-segment elevation in aVR raises suspicion of diffuse subendocardial ischemia.",
            "st_depression st_elevation ischaemia",
        ),
        (
            "The presence of pacing artifacts before both P waves and QRS complexes suggests a dual-chamber pacemaker. Atrial fibrillation is not apparent.",
            "paced",
        ),
        (
            "Symmetric T-wave inversions are seen in the anterior precordial leads, which in this context may represent anterior ischemia rather than right ventricular strain.",
            "t_inversion ischaemia_anterior",
        ),
        (
            "The tachycardia is regular with a narrow QRS and no visible P waves, most compatible with supraventricular tachycardia; sinus tachycardia and atrial flutter appear unlikely.",
            "supraventricular_tachycardia",
        ),
        (
            "In summary: normal sinus rhythm, left axis deviation and poor R-wave progression. An old anterior infarction is possible but not certain.",
            "sinus_rhythm axis_left poor_r_progression mi_anterior",
        ),
        (
            "The corrected QT interval of 478 ms is prolonged, but the T-wave morphology is normal and there are no U waves.",
            "long_qt",
        ),
        ("This ECG cannot be interpreted because of excessive artifact in all leads.", "unreadable poor_quality"),
        (
            "Neither atrial enlargement nor ventricular hypertrophy is present. The single abnormality is a right axis deviation of +112 degrees.",
            "axis_right",
        ),
        (
            "ST-segment elevations in leads I, aVL, V5, and V6 support a diagnosis of acute lateral myocardial infarction; reciprocal depression is found in the inferior leads.",
            "st_elevation_lateral mi_lateral",
        ),
        # German and Swedish (4)
        (
            "Sinusrhythmus, AV-Block ersten Grades, linksventrikuläre Hypertrophie. Kein Vorhofflimmern.",
            "sinus_rhythm first_degree_av_block lvh",
        ),
        ("Frischer Vorderwandinfarkt mit ST-Hebungen in V2 bis V4.", "mi_anterior st_elevation_anterior stemi"),
        ("Sinusbradykardie, Rechtstyp, P-pulmonale. Keine Ischämiezeichen.", "sinus_bradycardia axis_right rae"),
        ("Sinusrytm. Förmaksflimmer ses ej. Vänster el-axel.", "sinus_rhythm axis_left"),
    )
)
