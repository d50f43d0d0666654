"""The pools that make a generated note as long as a discharge summary from a large hospital.

As in synthetic_filler, nothing here may touch a finding. Each entry is a section and a block of text.
"""

from __future__ import annotations

from typing import Final

LONG_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "opening": ("History of Present Illness:", "HPI:"),
    "review": ("Review of Systems:", "ROS:"),
    "history": ("Past Medical History:", "PMH:"),
    "social": ("Social and Family History:", "Social History:"),
    "medications": ("Medications on Admission:", "Home Medications:"),
    "admission_exam": ("Physical Exam on Admission:", "Admission Exam:"),
    "results": ("Pertinent Results:", "Labs and Studies:"),
    "course": ("Brief Hospital Course:", "Hospital Course:"),
    "discharge_exam": ("Physical Exam on Discharge:", "Discharge Exam:"),
    "discharge_medications": ("Discharge Medications:", "Medications at Discharge:"),
    "discharge": ("Discharge Condition:", "Status and Disposition:"),
    "instructions": ("Discharge Instructions:", "Instructions to the Patient:"),
    "followup": ("Follow-up:", "Followup Instructions:"),
}

CORE: Final[tuple[tuple[str, str], ...]] = (
    ("review", "No headache, visual change, sore throat or ear pain."),
    ("review", "No burning with urination and no blood in the urine."),
    ("review", "No rash, joint swelling or new back pain."),
    ("review", "The remaining systems were reviewed and added nothing."),
    ("social", "{He} was born nearby and worked in an office until retirement."),
    ("social", "{He} stopped smoking in {year} and drinks alcohol rarely."),
    ("history", "- Hypertension"),
    ("history", "- Type 2 diabetes mellitus"),
    ("history", "- Osteoarthritis of the {side} knee"),
    ("history", "- Appendectomy in {year}"),
    (
        "admission_exam",
        "Vitals: temperature {temperature}, heart rate {heart_rate}, blood pressure {systolic}/{diastolic}, "
        "respiratory rate {breaths}.",
    ),
    ("admission_exam", "HEENT: sclerae anicteric, mucous membranes dry, oropharynx clear."),
    ("admission_exam", "Neck: supple, no lymph nodes, no thyroid enlargement."),
    ("admission_exam", "Lungs: coarse sounds at the {side} base, no wheeze."),
    ("admission_exam", "Heart: regular rate, normal S1 and S2, no rub."),
    ("admission_exam", "Abdomen: soft, bowel sounds present, no rebound or guarding."),
    ("admission_exam", "Extremities: warm, pulses palpable, no calf tenderness."),
    ("admission_exam", "Skin: no rash, small bruise on the {side} forearm."),
    ("admission_exam", "Neuro: cranial nerves intact, sensation intact to light touch."),
    (
        "discharge_exam",
        "Vitals: temperature {temperature}, heart rate {heart_rate}, blood pressure {systolic}/{diastolic}, "
        "respiratory rate {breaths}.",
    ),
    ("discharge_exam", "HEENT: sclerae anicteric, mucous membranes moist."),
    ("discharge_exam", "Lungs: clearer at the {side} base than on admission."),
    ("discharge_exam", "Heart: regular rate and rhythm, no new murmur."),
    ("discharge_exam", "Abdomen: soft and not tender, no mass felt."),
    ("discharge_exam", "Extremities: warm, peripheral line sites clean."),
    ("discharge_exam", "Neuro: face symmetric, no focal deficit."),
    (
        "results",
        "BLOOD WBC-{white_cells} RBC-{red_cells} Hgb-{hemoglobin} MCV-{volume} Plt-{platelets}",
    ),
    (
        "results",
        "BLOOD Glucose-{glucose} UreaN-{urea} Na-{sodium} K-{potassium} Cl-{chloride} HCO3-{bicarbonate}",
    ),
    ("instructions", "You came to the hospital because of the problem described above, and you were treated for it."),
    ("instructions", "Please take your medicines as listed and bring the list to each visit."),
    ("followup", "Please see your primary care doctor within {weeks} weeks of discharge."),
)
"""Blocks that every long note holds."""

MEDICATIONS: Final[tuple[str, ...]] = (
    "Acetaminophen 650 mg PO Q6H:PRN pain",
    "Allopurinol 100 mg PO DAILY",
    "Amlodipine 5 mg PO DAILY",
    "Aspirin 81 mg PO DAILY",
    "Atorvastatin 40 mg PO QPM",
    "Bisacodyl 10 mg PO DAILY:PRN constipation",
    "Calcium carbonate 500 mg PO BID",
    "Citalopram 20 mg PO DAILY",
    "Cyanocobalamin 1000 mcg PO DAILY",
    "Docusate sodium 100 mg PO BID",
    "Famotidine 20 mg PO Q12H",
    "Ferrous sulfate 325 mg PO DAILY",
    "Fluticasone nasal spray 1 spray NU DAILY",
    "Folic acid 1 mg PO DAILY",
    "Gabapentin 300 mg PO QHS",
    "Glipizide 5 mg PO DAILY",
    "Hydrochlorothiazide 12.5 mg PO DAILY",
    "Insulin glargine 12 units SC QHS",
    "Latanoprost 0.005% ophthalmic 1 drop both eyes QHS",
    "Levothyroxine 75 mcg PO DAILY",
    "Lisinopril 10 mg PO DAILY",
    "Loratadine 10 mg PO DAILY:PRN allergy symptoms",
    "Losartan 50 mg PO DAILY",
    "Melatonin 3 mg PO QHS:PRN insomnia",
    "Metoprolol tartrate 25 mg PO BID",
    "Multivitamin 1 tablet PO DAILY",
    "Omeprazole 20 mg PO DAILY",
    "Polyethylene glycol 17 g PO DAILY:PRN constipation",
    "Pravastatin 20 mg PO QPM",
    "Senna 8.6 mg PO BID:PRN constipation",
    "Sertraline 50 mg PO DAILY",
    "Simethicone 80 mg PO TID:PRN gas",
    "Tamsulosin 0.4 mg PO QHS",
    "Trazodone 25 mg PO QHS:PRN insomnia",
    "Vitamin D 1000 units PO DAILY",
)

LONG_FILLER: Final[tuple[tuple[str, str], ...]] = (
    ("opening", "Symptoms began about {course_days} days before admission and grew worse over the last two days."),
    ("opening", "The clinic was called first and advised a visit to the emergency department."),
    ("opening", "In the emergency department {he} was given fluids and {antibiotic} after cultures were drawn."),
    ("opening", "There was no recent travel, sick contact, or new medicine before the admission."),
    ("opening", "A similar episode in {year} was treated without admission, and {he} recovered within two weeks."),
    ("opening", "Initial vitals were heart rate {heart_rate}, blood pressure {systolic}/{diastolic}, rate {breaths}."),
    ("opening", "{His} {kin} was present and confirmed the account given above."),
    ("opening", "On the floor {he} was comfortable and settled by the evening of the first day."),
    ("history", "- Hypothyroidism, on replacement since {year}"),
    ("history", "- Gout, last flare in {year}"),
    ("history", "- Gastroesophageal reflux disease"),
    ("history", "- Cataract surgery of the {side} eye in {year}"),
    ("history", "- Hyperlipidemia, on a statin since {year}"),
    ("history", "- Kidney stones, passed without surgery in {year}"),
    ("history", "- Benign colon polyp removed in {year}, next examination not due"),
    ("history", "- Seasonal allergies and mild eczema"),
    ("social", "{His} {kin} visits most days and helps with bills and transport."),
    ("social", "{He} has two grown children and a large extended family."),
    ("social", "Family history includes diabetes in {his} {relative} and hypertension in {his} {relative}."),
    (
        "results",
        "BLOOD WBC-{white_cells} RBC-{red_cells} Hgb-{hemoglobin} MCV-{volume} Plt-{platelets}",
    ),
    (
        "results",
        "BLOOD WBC-{white_cells} RBC-{red_cells} Hgb-{hemoglobin} MCV-{volume} Plt-{platelets}",
    ),
    (
        "results",
        "BLOOD Glucose-{glucose} UreaN-{urea} Na-{sodium} K-{potassium} Cl-{chloride} HCO3-{bicarbonate}",
    ),
    (
        "results",
        "BLOOD Glucose-{glucose} UreaN-{urea} Na-{sodium} K-{potassium} Cl-{chloride} HCO3-{bicarbonate}",
    ),
    ("results", "BLOOD Calcium-{calcium} Phos-{phosphate} Mg-{magnesium}"),
    ("results", "BLOOD PT-12.1 INR-{inr} ALT-{alt} AlkPhos-{volume}"),
    ("results", "URINE Color-Yellow Appear-Clear Blood-NEG Nitrite-NEG Protein-TR Glucose-NEG Ketone-NEG pH-6.0"),
    (
        "results",
        "Chest radiograph: heart size is at the upper limit of normal. There is a small opacity at the {side} base, "
        "which may represent atelectasis. No pneumothorax is seen. Degenerative change of the spine is unchanged.",
    ),
    (
        "results",
        "CT of the head without contrast: no hemorrhage, mass effect or large territorial infarct. The ventricles "
        "and sulci are of normal size for age. The paranasal sinuses are clear.",
    ),
    (
        "results",
        "Renal ultrasound: the {side} kidney shows a simple cyst. No hydronephrosis and no stone is seen. The "
        "bladder is moderately distended with smooth walls.",
    ),
    (
        "results",
        "Plain film of the {side} hip: no fracture or dislocation. Mild joint space narrowing, unchanged from the "
        "film in {year}. Soft tissues are unremarkable.",
    ),
    (
        "results",
        "Ultrasound of the legs: normal compression and flow in the deep veins of both legs. No thrombus. A small "
        "cyst behind the {side} knee.",
    ),
    (
        "results",
        "Electrocardiogram: sinus rhythm at {heart_rate} beats per minute, normal axis, nonspecific T wave changes, "
        "no change against the tracing of {year}.",
    ),
    ("results", "Microbiology: blood cultures from two sites showed no growth after five days."),
    ("results", "Microbiology: urine culture grew mixed flora consistent with contamination."),
    (
        "results",
        "CT of the chest: a {millimeters} mm nodule in the {side} upper lobe, unchanged since {year} and of benign "
        "appearance. Dependent atelectasis. Airways are patent. No pulmonary embolism.",
    ),
    (
        "course",
        "# Infection: {he} was treated with {antibiotic} after cultures were drawn. The white count was {white_cells} "
        "at first and was followed each day. Cultures showed no growth, and the drug was changed to tablets to "
        "complete {course_days} days in all.",
    ),
    (
        "course",
        "# Hypertension: home tablets were held on the first day because of the acute illness and restarted at half "
        "dose once readings were above 140. The last reading was {systolic}/{diastolic}. The dose should be reviewed "
        "by the primary care doctor.",
    ),
    (
        "course",
        "# Type 2 diabetes: oral agents were held and insulin was given by sliding scale. Morning glucose was "
        "{glucose} and later {glucose}. There was no episode of low glucose. Home agents were resumed on the last day.",
    ),
    (
        "course",
        "# Anemia: hemoglobin was {hemoglobin} on arrival and {hemoglobin} on repeat, without signs of bleeding. Iron "
        "studies were sent. No transfusion was given. A repeat count in {weeks} weeks is advised.",
    ),
    (
        "course",
        "# Electrolytes: potassium was {potassium} and magnesium {magnesium}, and both were replaced by mouth. Sodium "
        "was {sodium} and remained in that range. Repeat values were acceptable.",
    ),
    (
        "course",
        "# Hypothyroidism: levothyroxine was continued at the home dose. Thyroid function was in range and need not "
        "be repeated before the yearly visit.",
    ),
    (
        "course",
        "# Gout: a mild flare of the {side} great toe on the third day was treated with a short course of "
        "colchicine. Allopurinol was continued. The joint was less swollen after two days.",
    ),
    (
        "course",
        "# Delirium precautions: {he} was awake at night on two occasions and slept better with melatonin and a "
        "quiet room. Sedatives were avoided. Glasses and hearing aids were kept at the bedside.",
    ),
    (
        "course",
        "# Constipation: senna and polyethylene glycol were given with good effect. The regimen may be reduced once "
        "bowel habit has returned to normal.",
    ),
    (
        "course",
        "# Skin: a shallow abrasion over the {side} elbow was cleaned and dressed each day. There was no sign of "
        "infection around it, and no further care is planned beyond a dry dressing.",
    ),
    (
        "course",
        "# Back pain: long-standing and unchanged. Acetaminophen and a lidocaine patch were given. Imaging was not "
        "repeated because there were no warning signs. Opioids were avoided.",
    ),
    (
        "course",
        "# Urinary retention: a bladder scan showed retained urine on the second day and a catheter was placed. It "
        "was removed {course_days} days later, after which {he} voided without difficulty. Tamsulosin was started.",
    ),
    (
        "course",
        "# Gastroesophageal reflux: omeprazole was continued. There was no difficulty with swallowing, and no "
        "endoscopy was planned during this stay.",
    ),
    (
        "course",
        "# Depression: sertraline was continued at the home dose. Mood was described as fair. Social work met with "
        "{him} and {his} {kin} and gave contact details for the community team.",
    ),
    (
        "course",
        "# Pulmonary nodule: a {millimeters} mm nodule in the {side} upper lobe was seen by chance and matches the "
        "report of {year}. Radiology called it benign and advised no further imaging.",
    ),
    (
        "course",
        "# Atrial ectopy: short runs of extra beats were seen on telemetry with heart rate {heart_rate}. Metoprolol "
        "was continued. No anticoagulation was started, and telemetry was stopped on the third day.",
    ),
    (
        "course",
        "# Prophylaxis: subcutaneous heparin was given for clot prevention and stopped at discharge. Vaccination "
        "against influenza was offered and recorded in the chart.",
    ),
    (
        "course",
        "# Hyperlipidemia: the statin was continued. The lipid panel was not repeated during this stay, and the last "
        "panel on record is from {year}.",
    ),
    (
        "course",
        "# Transitional issues: the family doctor should review the blood pressure tablets, repeat a metabolic panel "
        "in {weeks} weeks, and check that the course of antibiotics was completed. Pending at discharge: none.",
    ),
    (
        "course",
        "# Vitamin D deficiency: found on screening labs sent by the clinic before admission. Replacement was started "
        "by mouth, and a repeat level in {weeks} weeks is left to the family doctor.",
    ),
    (
        "course",
        "# Headache: mild and without warning signs on the second day. CT of the head was read as normal. It passed "
        "with acetaminophen, and no further study was planned.",
    ),
    (
        "course",
        "# Hyperglycemia from steroids: a short course of prednisone was given for wheeze on the first night, after "
        "which glucose reached {glucose}. It returned to the usual range once the course was completed.",
    ),
    (
        "course",
        "# Drug rash: faint red spots on the trunk appeared after the first dose of {antibiotic}. The drug was "
        "exchanged, and the rash faded within {course_days} days. The reaction was entered in the allergy list.",
    ),
    (
        "course",
        "# Bladder symptoms: reviewed with urology by telephone. Post-void scans were within the "
        "accepted range, and the home regimen was kept as it was.",
    ),
    (
        "course",
        "# Shoulder pain: long-standing stiffness of the {side} shoulder. Plain films showed mild degenerative "
        "change. Heat and exercises were advised, with review in {weeks} weeks if it does not settle.",
    ),
    (
        "instructions",
        "Call the clinic if you have fever above 101, chills, a new rash, or repeated vomiting.",
    ),
    ("instructions", "We changed one of your blood pressure tablets; the new dose is shown in the list."),
    ("instructions", "Do not add pain tablets of your own to those in the list, and keep alcohol to a minimum."),
    (
        "instructions",
        "If you pass less urine than usual, or it becomes dark, drink fluids and call your doctor.",
    ),
    ("instructions", "Your antibiotic tablets should be taken with food until the last one is gone."),
    ("instructions", "Keep the dressing on your {side} elbow dry for one week; it can then be left open."),
    ("instructions", "Seek care at once for chest pain, fainting, black stools, or weakness of the face or arm."),
    ("instructions", "It was a pleasure to take care of you during this stay."),
    (
        "instructions",
        "Your blood sugar was above its usual range; check it each morning and write it down.",
    ),
    ("instructions", "Use the cream on your {side} forearm twice a day until the spots are gone."),
    ("instructions", "Bring this letter, your medicines and your insurance card to the first visit after discharge."),
    ("followup", "Please have blood drawn for a metabolic panel and blood count in {weeks} weeks."),
    ("followup", "An appointment with the eye clinic is planned in {weeks} weeks and will be confirmed by mail."),
    ("followup", "The diabetes nurse will telephone in {weeks} weeks to review your glucose readings."),
)
"""Blocks drawn without replacement until a long note has its length."""
