"""Frontal chest radiographs of people pass; anything else is refused with the right reason."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from dicom_node.eligibility import MIN_SIDE_PX, require_frontal_chest
from dicom_node.errors import NotEligible, NotEligibleReason
from dicom_node.pixels import read_dataset, read_radiograph

NOTHING = {
    "BodyPartExamined": None,
    "ViewPosition": None,
    "PatientOrientation": None,
    "Modality": "CR",
    "SOPClassUID": uid.ComputedRadiographyImageStorage,
}


def code(value, meaning, scheme="SCT"):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        NOTHING,
        {"Modality": "CR", "SOPClassUID": uid.ComputedRadiographyImageStorage},
        {"PresentationIntentType": "FOR PROCESSING", "SOPClassUID": uid.DigitalXRayImageStorageForProcessing},
        {"Modality": "CR", "SOPClassUID": uid.SecondaryCaptureImageStorage},
        {"Modality": "OT", "SOPClassUID": uid.SecondaryCaptureImageStorage},
        {"Modality": "", "BodyPartExamined": ""},
        {"BodyPartExamined": "Thorax"},
        {"BodyPartExamined": "CHEST_1_VIEW"},
        {"BodyPartExamined": "LUNG"},
        {"BodyPartExamined": "CHESTABDOMEN"},
        {"BodyPartExamined": "UNKNOWN", "StudyDescription": "Röntgen Thorax"},
        NOTHING | {"SeriesDescription": "Thorax pa Stativ"},
        NOTHING | {"ProtocolName": "Thorax de face"},
        NOTHING | {"ProtocolName": "Poumons AP lit"},
        NOTHING | {"SeriesDescription": "Torace PA"},
        NOTHING | {"StudyDescription": "TORAX PA Y LATERAL"},
        NOTHING | {"StudyDescription": "XR CHEST 2 VIEWS (PA AND LATERAL)"},
        NOTHING | {"SeriesDescription": "CHEST PA AND LATERAL"},
        NOTHING | {"AnatomicRegionSequence": code("51185008", "Chest")},
        NOTHING | {"AnatomicRegionSequence": code("816094009", "")},
        NOTHING | {"AnatomicRegionSequence": code("T-D3000", "Thorax", "SRT")},
        NOTHING | {"SeriesDescription": "Bilateral infiltrates?"},
        {"ViewPosition": "", "ViewCodeSequence": code("399348003", "antero-posterior")},
        {"ViewPosition": "AP SUPINE"},
        {"ViewPosition": "ERECT"},
        {"PatientOrientation": ["R", "F"]},
        {"PatientOrientation": ["LA", "F"]},
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PatientSpeciesCodeSequence": code("337915000", "homo sapiens")},
        {"NumberOfFrames": 1},
        {"Rows": 440, "Columns": 440},
    ],
    ids=str,
)
def test_accepted(attributes, new_film):
    require_frontal_chest(new_film(**attributes))


@pytest.mark.parametrize(
    ("reason", "attributes"),
    [
        ("not-a-radiograph", {"Modality": "CT", "SOPClassUID": uid.CTImageStorage}),
        (
            "not-a-radiograph",
            {"Modality": "MG", "SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation},
        ),
        ("not-a-radiograph", {"Modality": "XA", "SOPClassUID": uid.SecondaryCaptureImageStorage}),
        ("not-a-radiograph", {"Modality": "SR", "SOPClassUID": uid.ComprehensiveSRStorage}),
        ("not-a-radiograph", NOTHING | {"Modality": "OT", "SOPClassUID": uid.SecondaryCaptureImageStorage}),
        ("multi-frame", {"NumberOfFrames": 12}),
        ("not-a-chest", {"BodyPartExamined": "HIP"}),
        ("not-a-chest", {"BodyPartExamined": "EXTREMITY"}),
        ("not-a-chest", {"BodyPartExamined": "TSPINE"}),
        ("not-a-chest", {"BodyPartExamined": "THORACIC SPINE"}),
        ("not-a-chest", {"BodyPartExamined": "RIB"}),
        ("not-a-chest", {"BodyPartExamined": "ABDOMEN"}),
        ("not-a-chest", {"BodyPartExamined": "something of its own"}),
        ("not-a-chest", {"BodyPartExamined": "CHEST", "SeriesDescription": "Knie ap rechts"}),
        ("not-a-chest", NOTHING | {"SeriesDescription": "Becken AP"}),
        ("not-a-chest", NOTHING | {"ProtocolName": "BWS seitlich"}),
        ("not-a-chest", NOTHING | {"StudyDescription": "Radiografia de rodilla"}),
        ("not-a-chest", NOTHING | {"StudyDescription": "Radiographie du genou", "SeriesDescription": "face"}),
        ("not-a-chest", NOTHING | {"AnatomicRegionSequence": code("72696002", "Knee")}),
        ("lateral-view", {"ViewPosition": "LL"}),
        ("lateral-view", {"ViewPosition": "LATERAL"}),
        ("lateral-view", {"ViewPosition": "RLD"}),
        ("lateral-view", {"ViewPosition": "", "ViewCodeSequence": code("399198007", "right lateral")}),
        ("lateral-view", {"ViewPosition": "", "PatientOrientation": ["A", "F"]}),
        ("lateral-view", {"ViewPosition": "", "PatientOrientation": ["P", "F"]}),
        ("lateral-view", {"ViewPosition": "", "SeriesDescription": "Thorax seitlich"}),
        ("lateral-view", {"ViewPosition": "", "SeriesDescription": "Thorax de profil"}),
        ("lateral-view", {"ViewPosition": "", "SeriesDescription": "W Chest Lat."}),
        ("lateral-view", {"ViewPosition": "", "ProtocolName": "TORAX_LATERAL"}),
        ("lateral-view", {"ViewPosition": "PA", "SeriesDescription": "Chest lateral"}),
        ("not-human", {"PatientSpeciesDescription": "Canis lupus familiaris"}),
        ("not-human", {"PatientSpeciesCodeSequence": code("448771007", "Canis lupus subspecies familiaris")}),
        ("not-human", {"PatientBreedDescription": "Beagle"}),
        ("not-human", {"PatientSexNeutered": "ALTERED"}),
        ("not-human", {"AnatomicalOrientationType": "QUADRUPED"}),
        ("not-human", {"AcquisitionDeviceProcessingDescription": "CANINE LATERAL THORAX 0-15cm"}),
        ("not-human", {"QualityControlSubject": "YES"}),
        ("no-pixels", {"PixelData": None, "Rows": 32, "Columns": 32}),
        ("too-small", {"Rows": MIN_SIDE_PX - 1}),
        ("too-small", {"Rows": 169, "Columns": 211}),
        (
            "own-result",
            {"Manufacturer": "cxr-severity-worker", "ManufacturerModelName": "cxr-severity-worker"},
        ),
    ],
    ids=str,
)
def test_refused(reason, attributes, new_film):
    with pytest.raises(NotEligible) as caught:
        require_frontal_chest(new_film(**attributes))
    assert caught.value.reason == NotEligibleReason(reason)
    assert caught.value.message.endswith(".")
    assert "Doe" not in caught.value.message


@pytest.mark.parametrize(
    ("attributes", "written", "damaged"),
    [
        ({"NumberOfFrames": 1}, b"IS\x02\x001 ", b"IS\x02\x00x!"),
        ({"ViewPosition": "PA"}, b"CS\x02\x00PA", b"CS\x02\x00\xff\xfe"),
        ({"PixelPaddingValue": 7}, b"US\x02\x00\x07\x00", b"XX\x02\x00\x07\x00"),
    ],
)
def test_unreadable_values_are_as_good_as_empty(attributes, written, damaged, new_film, encoded):
    whole = encoded(new_film(**attributes))
    assert whole.count(written) == 1
    dataset = read_dataset(whole.replace(written, damaged))
    require_frontal_chest(dataset)
    assert read_radiograph(dataset).pixels.shape == (320, 300)


def test_the_smallest_accepted_size(new_film):
    require_frontal_chest(new_film(np.zeros((MIN_SIDE_PX, MIN_SIDE_PX), np.uint16)))
