"""What clinical files say of a patient, in one spelling."""

from __future__ import annotations

from datetime import date, datetime


def sex(words: str | None) -> str | None:
    """ "male", "female" or None out of any vendor's spelling."""
    return {"m": "male", "male": "male", "f": "female", "female": "female", "1": "male", "2": "female"}.get(
        (words or "").strip().lower()
    )


def full_name(last: str | None, first: str | None) -> str | None:
    """Last^First as DICOM parts a person's name, without the caret where one part is missing or dashes only."""
    parts = [p.strip() for p in (last, first) if p and p.strip(" -")]
    return "^".join(parts) or None


def age_in_years(told: float | None, born: date | None = None, start: date | None = None) -> float | None:
    """The age that the file tells, else whole years from birth to recording; None where that is no age of a person."""
    if told is None and born is not None and start is not None:
        told = float(start.year - born.year - ((start.month, start.day) < (born.month, born.day)))
    return told if told is not None and 0 <= told <= 130 else None


def moment(date: str | None, time: str | None, *layouts: str) -> datetime | None:
    """Date and time as the first layout (strptime's) that fits their joined text; None where none does."""
    joined = " ".join(part.strip() for part in (date, time) if part and part.strip())
    for layout in layouts:
        try:
            return datetime.strptime(joined, layout)
        except ValueError:
            continue
    return None
