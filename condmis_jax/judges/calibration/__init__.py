"""A labelled set of answers, and what judges make of it."""

from condmis_jax.judges.calibration.items import (
    BAND_WORDS,
    CalibrationItem,
    Label,
    agreement_of,
    calibration_items,
)
from condmis_jax.judges.calibration.result import (
    ALL,
    Calibration,
    Errors,
    calibrate,
    read_calibration,
    table,
    to_document,
)

__all__ = [
    "ALL",
    "BAND_WORDS",
    "Calibration",
    "CalibrationItem",
    "Errors",
    "Label",
    "agreement_of",
    "calibrate",
    "calibration_items",
    "read_calibration",
    "table",
    "to_document",
]
