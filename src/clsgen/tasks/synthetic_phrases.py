"""The wording of the findings in generated notes.

Square brackets hold the words that state the fact, as a noun phrase that a reason can quote as it stands. The levels
of a measured finding share their sentences, and many sentences of "absent" share their words with "present": what
counts is the number, the negation, the person it is said of, and the time.
"""

from __future__ import annotations

from typing import Final

_LACTATE = (
    "Labs showed [a lactate of {v}].",
    "The first blood gas gave [a lactate of {v}].",
    "[Serum lactate {v}].",
    "On arrival {he} had [a lactate level of {v}].",
    "[Lactate {v}] on arrival.",
)
_ALBUMIN = (
    "Labs showed [an albumin of {v}].",
    "[Serum albumin {v}].",
    "Chemistry gave [an albumin level of {v}].",
    "[Albumin {v}] on the morning labs.",
    "Nutrition labs showed [an albumin of {v}].",
)
_EJECTION_FRACTION = (
    "Echo showed [an ejection fraction of {v}%].",
    "Echocardiogram with [an EF of {v}%].",
    "[Left ventricular EF {v}%] on echo.",
    "Cardiology reported [an ejection fraction of {v}%].",
    "[EF {v}%] on the latest echo.",
)
_ICU = (
    "{He} had [an ICU stay of {v} days].",
    "The course included [{v} days in intensive care].",
    "{He} spent [{v} days in the ICU].",
    "After [{v} ICU days] {he} came to the ward.",
)
_OXYGEN = (
    "{He} left on [{v} liters of oxygen].",
    "At rest {he} needed [oxygen at {v} liters].",
    "Oxygen: [{v} liters by nasal cannula].",
    "There was [a need for {v} liters of oxygen].",
    "{He} was weaned to [oxygen at {v} liters].",
)
_AGE = (
    "{Man}, [age {v}], admitted with {complaint}.",
    "{Man}, [age {v}], who came in with {complaint}.",
    "{Man}, [age {v} years], brought in for {complaint}.",
    "Admitted for {complaint}: {man}, [age {v}].",
    "Seen for {complaint}. {Man}, [age {v} years].",
)

WORDING: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "age": dict.fromkeys(("under_65", "65_to_74", "75_to_84", "85_and_over"), _AGE),
    "cancer": {
        "metastatic": (
            "CT showed [metastatic {primary} cancer].",
            "{He} has [{primary} cancer with {organ} metastases].",
            "Oncology follows {him} for [stage IV {primary} cancer].",
            "Known [{primary} cancer spread to the {organ}].",
            "Biopsy confirmed [metastatic disease in the {organ}].",
            "There was evidence of [metastatic {primary} cancer].",
        ),
        "none": (
            "CT showed no metastatic {primary} cancer.",
            "There was no evidence of metastatic {primary} cancer.",
            "Oncology found no stage IV {primary} cancer.",
            "Biopsy excluded metastatic disease in the {organ}.",
            "Concern for {primary} cancer spread to the {organ} was not confirmed.",
            "{He} was cured of {primary} cancer in {year}.",
        ),
    },
    "code_status": {
        "full": (
            "Code status: [full code].",
            "DNR was discussed and {he} chose [full code status].",
            "{He} does not want a DNR order and keeps [full code status].",
            "Comfort measures were declined in favor of [full treatment].",
            "Goals of care: [full code], no hospice.",
        ),
        "dnr": (
            "Code status: [DNR and DNI].",
            "Full code was discussed and {he} chose [DNR status].",
            "{He} does not want full code and signed [a DNR order].",
            "Goals of care: [DNR order], no hospice.",
            "{He} keeps [DNR status] from an earlier stay.",
        ),
        "comfort": (
            "Code status: DNR with [comfort measures only].",
            "Full treatment was declined in favor of [comfort measures].",
            "Goals of care: [hospice care], not full code.",
            "After family meetings {he} chose [hospice care].",
            "{He} was moved to [comfort measures only].",
        ),
    },
    "lactate": dict.fromkeys(("normal", "raised", "high"), _LACTATE),
    "albumin": dict.fromkeys(("normal", "reduced", "low"), _ALBUMIN),
    "ejection_fraction": dict.fromkeys(("normal", "reduced", "low"), _EJECTION_FRACTION),
    "icu": {
        "none": (
            "{He} had no ICU stay.",
            "{He} spent no days in the ICU.",
            "{He} did not need days in intensive care.",
            "{He} stayed on the ward without ICU days.",
        ),
        "short": _ICU,
        "long": _ICU,
    },
    "vasopressors": {
        "used": (
            "Low blood pressure required [vasopressor support].",
            "{He} received [norepinephrine for shock].",
            "{He} needed [vasopressors for shock].",
            "Fluids failed and {he} got [vasopressor support].",
            "There was [shock with vasopressor use].",
        ),
        "none": (
            "Low blood pressure never required vasopressor support.",
            "{He} received fluids and no norepinephrine for shock.",
            "{He} never needed vasopressors for shock.",
            "There was no shock with vasopressor use.",
            "Norepinephrine for shock was ordered but not given.",
        ),
    },
    "dialysis": {
        "present": (
            "{He} is on [dialysis three times a week].",
            "Kidney failure needed [ongoing hemodialysis].",
            "Nephrology continued [hemodialysis for kidney failure].",
            "{He} remains on [dialysis for kidney failure].",
            "Nephrology arranged [outpatient dialysis].",
        ),
        "none": (
            "Kidney function held without dialysis.",
            "Nephrology saw no need for outpatient dialysis.",
            "{He} never needed hemodialysis for kidney failure.",
            "Ongoing hemodialysis was not needed.",
            "{He} came off dialysis after a transplant in {year}.",
        ),
    },
    "oxygen": {
        "none": (
            "{He} did not need oxygen at rest.",
            "{He} was weaned from oxygen to room air.",
            "There was no need for oxygen.",
            "{He} left without oxygen.",
        ),
        "low_flow": _OXYGEN,
        "high_flow": _OXYGEN,
    },
    "dementia": {
        "advanced": (
            "{He} has [advanced dementia].",
            "{He} lives with [severe Alzheimer dementia].",
            "Memory testing showed [severe dementia].",
            "Neurology follows [advanced Alzheimer dementia].",
            "There was evidence of [severe dementia].",
        ),
        "none": (
            "{He} does not have advanced dementia.",
            "Memory testing showed no severe dementia.",
            "Neurology excluded advanced Alzheimer dementia.",
            "There was no evidence of severe dementia.",
            "Concern for severe dementia was not confirmed.",
        ),
    },
    "cirrhosis": {
        "present": (
            "{He} has [cirrhosis with ascites].",
            "Ultrasound showed [cirrhosis with ascites].",
            "Known [decompensated liver cirrhosis].",
            "There was evidence of [decompensated cirrhosis].",
            "Hepatology follows [liver cirrhosis with ascites].",
        ),
        "none": (
            "Ultrasound showed no cirrhosis with ascites.",
            "{He} does not have liver cirrhosis.",
            "Hepatology excluded decompensated cirrhosis.",
            "There was no evidence of decompensated cirrhosis.",
            "Concern for liver cirrhosis with ascites was not confirmed.",
        ),
    },
    "mobility": {
        "independent": (
            "Physical therapy noted [independent walking].",
            "{He} kept [independent mobility].",
            "{He} has [no need for help with walking].",
            "{He} is not bedbound and keeps [independent walking].",
            "Function: [independent mobility] on the ward.",
        ),
        "assisted": (
            "{He} walks with a walker.",
            "{He} needs some help with walking.",
            "Physical therapy noted short walks with a walker.",
            "Function: walking with a cane on the ward.",
        ),
        "bedbound": (
            "Physical therapy noted [a bedbound state].",
            "{He} lost independent mobility and has [bedbound status].",
            "{He} has [a need for full help with mobility].",
            "{He} is not walking and keeps [a bedbound state].",
            "Function: [bedbound status] on the ward.",
        ),
    },
    "intake": {
        "good": (
            "{He} had [good oral intake].",
            "Nursing noted [a good appetite].",
            "{He} ate well, with [no weight loss].",
            "Diet: [good oral intake], not poor.",
            "Dietitian reported [a stable weight].",
        ),
        "fair": (
            "{He} had fair oral intake.",
            "Nursing noted a fair appetite.",
            "Dietitian reported fair meals.",
        ),
        "poor": (
            "{He} had [poor oral intake].",
            "Nursing noted [a poor appetite].",
            "{He} did not eat well, with [weight loss].",
            "Diet: [poor oral intake], not good.",
            "Dietitian reported [a falling weight].",
        ),
    },
    "disposition": {
        "home": (
            "Disposition: [discharge home].",
            "The plan was [discharge home] with family.",
            "Nursing home placement was declined for [discharge home].",
            "Case management arranged [a return home].",
            "{He} is ready for [a return home].",
        ),
        "rehabilitation": (
            "Disposition: rehabilitation unit.",
            "Case management arranged a rehabilitation bed.",
            "The plan was rehabilitation, then discharge home.",
        ),
        "facility": (
            "Disposition: [nursing home placement].",
            "The plan was [discharge to a nursing facility].",
            "Discharge home was declined for [nursing home placement].",
            "Case management arranged [a nursing home bed].",
            "{He} could not return home and needs [nursing home placement].",
        ),
    },
}

DECOYS: Final[dict[str, tuple[str, ...]]] = {
    "cancer": (
        "{His} {relative} died of metastatic {primary} cancer.",
        "{His} {relative} had {primary} cancer with {organ} metastases.",
        "{His} {relative} was treated for stage IV {primary} cancer.",
        "Family history: {primary} cancer spread to the {organ} in {his} {relative}.",
    ),
    "dialysis": (
        "{His} {kin} is on dialysis three times a week.",
        "{His} {relative} had hemodialysis for kidney failure.",
        "Family history: kidney failure with dialysis in {his} {relative}.",
    ),
    "dementia": (
        "{His} {kin} has advanced dementia.",
        "{His} {kin} lives with severe Alzheimer dementia.",
        "Family history: severe dementia in {his} {relative}.",
    ),
    "cirrhosis": (
        "{His} {relative} had cirrhosis with ascites.",
        "{His} {relative} died of decompensated liver cirrhosis.",
        "Family history: liver cirrhosis with ascites in {his} {relative}.",
    ),
    "vasopressors": (
        "In {year} {he} had shock and received norepinephrine elsewhere.",
        "In {year} an infection with low blood pressure required vasopressors.",
    ),
    "mobility": (
        "In {year} {he} cared for a bedbound {relative}.",
        "{His} {kin} has independent mobility.",
    ),
    "disposition": (
        "{His} {kin} lives in a nursing home.",
        "{His} {kin} is ready to help after the return home.",
    ),
    "code_status": (
        "{His} {relative} died in hospice care.",
        "{His} {kin} has a DNR order.",
    ),
    "ejection_fraction": (
        "{His} {relative} had an ejection fraction of {other_ef}%.",
        "In {year} an outside echo gave an EF of {other_ef}%.",
    ),
}
"""Sentences that are true of someone else, or of another time; drawn without regard to the patient's own findings."""

SECTION_OF: Final[dict[str, str]] = {
    "age": "opening",
    "cancer": "history",
    "dialysis": "history",
    "dementia": "history",
    "cirrhosis": "history",
    "lactate": "results",
    "albumin": "results",
    "ejection_fraction": "results",
    "icu": "course",
    "vasopressors": "course",
    "oxygen": "course",
    "intake": "course",
    "mobility": "discharge",
    "code_status": "discharge",
    "disposition": "discharge",
}
