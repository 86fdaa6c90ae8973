"""What is sent and what scores it: drawn films, each of a patient of its own, and cheap networks.

The networks' weights are set by hand: bright is lung, brighter is opacity. So drawn lungs are found, the
score varies from film to film, and a film takes some tens of milliseconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

ROWS, COLUMNS = 320, 320
NAME_MARK = "Qzxcrash"
"""Begins every patient's name and ID, accession number: it may stand in no log."""

SCORED, BLANK, LATERAL = "scored", "blank", "lateral"
KINDS = (SCORED, BLANK, SCORED, BLANK, LATERAL, SCORED, BLANK, SCORED, BLANK, BLANK)
"""Kinds of film by turns."""


@dataclass(frozen=True)
class Film:
    """One image to send; ``kind`` says which outcome it must have."""

    sop_instance_uid: str
    kind: str
    encoded: bytes = field(repr=False)

    @property
    def reported(self) -> bool:
        """Whether the PACS must get a report of it."""
        return self.kind != LATERAL


def make_films(count: int, seed: int | None = None) -> list[Film]:
    """Draw films, of all kinds by turns, with UIDs never used before."""
    rng = random.Random(seed)
    return [make_film(KINDS[number % len(KINDS)], rng) for number in range(count)]


def make_film(kind: str = SCORED, rng: random.Random | None = None) -> Film:
    """Draw one film."""
    pixels = _draw(kind, rng or random.Random())
    dataset = Dataset()
    dataset.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid.generate_uid(prefix=None)
    dataset.StudyInstanceUID = uid.generate_uid(prefix=None)
    dataset.SeriesInstanceUID = uid.generate_uid(prefix=None)
    token = str(dataset.SOPInstanceUID)[-10:]
    dataset.PatientName = f"{NAME_MARK}{token}^Crash"
    dataset.PatientID = f"{NAME_MARK}{token}"
    dataset.AccessionNumber = f"{NAME_MARK}{token}"[:16]
    dataset.PatientBirthDate, dataset.PatientSex = "19500101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260101", "120000", "DX"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.ReferringPhysicianName = ""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "LATERAL" if kind == LATERAL else "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return Film(str(dataset.SOPInstanceUID), kind, buffer.getvalue())


def _draw(kind: str, rng: random.Random) -> NDArray[np.uint16]:
    pixels = np.full((ROWS, COLUMNS), 200, np.uint16)
    pixels[:4, :4] = 4095  # the window's upper end
    if kind == BLANK:
        return pixels
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    lungs = np.zeros(pixels.shape, bool)
    for centre in (0.28, 0.72):
        lungs |= ((rows - 0.5 * ROWS) / (0.36 * ROWS)) ** 2 + (
            (columns - centre * COLUMNS) / (0.15 * COLUMNS)
        ) ** 2 < 1
    pixels[lungs] = 2800
    for _ in range(rng.randrange(4)):
        top, left = rng.randrange(ROWS // 2), rng.randrange(COLUMNS)
        spot = np.zeros_like(lungs)
        spot[top : top + ROWS // 3, left : left + COLUMNS // 3] = True
        pixels[lungs & spot] = 4000
    return pixels


def write_weights(folder: Path) -> None:
    """Write ``lungs`` and ``opacity`` networks whose answer is the film's brightness."""
    from models.checkpoint import NetworkSpec, Role, build_network, save_checkpoint
    from models.geometry import Resize

    for role, threshold, involvement in ((Role.LUNGS, 0.5, None), (Role.OPACITY, 0.8, 0.3)):
        spec = NetworkSpec(
            role=role,
            architecture="unet",
            encoder="resnet18",
            input_shape=(96, 96),
            options={"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
            resize=Resize.STRETCH,
            channel_mean=(0.0,),
            channel_std=(1.0,),
            involvement_threshold=involvement,
            training="set by hand for the crash tests: the logit grows with the brightness",
        )
        network = build_network(spec).eval()
        _make_brightness(network, threshold)
        save_checkpoint(network, spec, folder)


def _make_brightness(network: object, threshold: float) -> None:
    """Leave one path through a U-Net: stem, first skip, decoder, head; everything else is 0."""
    import torch

    parameters = dict(network.named_parameters())  # type: ignore[attr-defined]
    with torch.no_grad():
        for name, parameter in parameters.items():
            if not name.endswith(("bn1.weight", "1.weight")) or parameter.ndim == 4:
                parameter.zero_()
        stem = parameters["encoder.conv1.weight"]
        stem[0, 0, 3:5, 3:5] = 0.25
        first = parameters["decoder.blocks.1.conv1.0.weight"]
        first[0, first.shape[1] - stem.shape[0], 1, 1] = 1.0
        for name in ("blocks.1.conv2", "blocks.2.conv1", "blocks.2.conv2"):
            parameters[f"decoder.{name}.0.weight"][0, 0, 1, 1] = 1.0
        parameters["segmentation_head.0.weight"][0, 0, 1, 1] = 40.0
        parameters["segmentation_head.0.bias"][0] = -40.0 * threshold


def write_bsnet_weights(folder: Path, lungs_above: float = 0.5) -> None:
    """Write a small BS-Net: what is brighter than a share of the film's range is lung, the rest is chance.

    Parameters
    ----------
    folder : pathlib.Path
        Made if missing.
    lungs_above : float
        Above 1 no lungs are ever found.
    """
    import torch

    from models.bsnet.checkpoint import save_bsnet
    from models.bsnet.network import build_bsnet
    from models.bsnet.spec import COMPACT, Decoder, Preprocessing

    spec = replace(
        COMPACT,
        encoder="resnet18",
        decoder=Decoder.UNET,
        input_shape=(96, 96),
        decoder_channels=(8, 8, 8, 8, 4),
        pyramid_channels=(8, 8, 8, 8, 16),
        roi_sizes=(8, 4, 4, 4),
        preprocessing=Preprocessing.PERCENTILES,
        window_percentiles=(0.0, 100.0),
        grey_mean=0.0,
        grey_std=1.0,
        training="set by hand for the tests: lungs are what is bright, scores are chance",
        licence="made for the tests, no licence needed",
    )
    torch.manual_seed(3)
    network = build_bsnet(spec).eval()
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        stem = parameters["encoder.model.conv1.weight"]
        first = parameters["decoder.nodes.blocks.3.conv1.0.weight"]
        later = [
            parameters[f"decoder.nodes.blocks.{block}.0.weight"]
            for block in ("3.conv2", "4.conv1", "4.conv2")
        ]
        head = parameters["decoder.head.0.weight"]
        for weight in (stem[:1], first, *later, head):
            weight.zero_()
        stem[0, 0, 3:5, 3:5] = 0.25
        first[0, first.shape[1] - stem.shape[0], 1, 1] = 1.0
        for weight in later:
            weight[0, 0, 1, 1] = 1.0
        head[0, 0, 1, 1] = 40.0
        parameters["decoder.head.0.bias"][0] = -40.0 * lungs_above
        for judge in network.heads.values():  # so that the regions do not all get the same answer
            for parameter in judge.parameters():
                torch.nn.init.normal_(parameter, std=0.5)
    save_bsnet([network], spec, folder)
