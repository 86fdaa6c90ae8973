"""Figures that the paper prints, to stand beside ours.

Source: Danilov et al. 2022, "Automatic scoring of COVID-19 severity in X-ray imaging based on a novel deep
learning workflow", Scientific Reports 12. Tables E1 and E2 are in its supplement and were recovered from the
published per-film outputs. Where the library's counter left out encoders, ``macs_all_g`` has the count over
all operations of the same network, built anew.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

Triple = tuple[float, float, float]
"""Training, validation, test."""


@dataclass(frozen=True)
class PaperNetwork:
    """A best configuration: Tables 5 and 7 (stage I), 6 and 8 (stage II).

    Parameters
    ----------
    input_px : int
        Side of the square input.
    encoder, loss, optimizer : str
        As the papers' code names them; both losses for stage II.
    learning_rate : float
        Constant.
    batch : int
        Films a step.
    parameters_m, macs_g : float
        Millions of parameters, thousands of millions of multiply-adds, as printed.
    macs_all_g : float
        Multiply-adds over all operations; the printed figure leaves some out (EfficientNet encoders) or adds
        some.
    trials : int
        Runs of the hyperparameter search for this architecture.
    dice_tuning : float
        Best validation Dice of that search, a batch mean.
    dice : tuple of float
        Batch means (training, validation, test), with empty batches counted as 1.
    f1 : tuple of float or None
        Of the classification head; None for stage I.
    memory_gb : int
        Memory of the GPU that training took.
    """

    input_px: int
    encoder: str
    loss: str
    optimizer: str
    learning_rate: float
    batch: int
    parameters_m: float
    macs_g: float
    macs_all_g: float
    trials: int
    dice_tuning: float
    dice: Triple
    f1: Triple | None
    memory_gb: int


_HEAD = (
    "name,input_px,encoder,loss,optimizer,learning_rate,batch,parameters_m,macs_g,macs_all_g,"
    "trials,dice_tuning,"
)
_STAGE_I = """dice_train,dice_val,dice_test,memory_gb
U-net,384,se_resnext101_32x4d,BCE,Adam,1e-4,24,55.9,35.6,35.3,42,.945,.960,.960,.962,21
U-net++,384,efficientnet-b1,Jaccard,Adam+AMSGrad,1e-3,32,9.1,11.5,12.95,38,.946,.956,.959,.960,24
DeepLabV3,512,efficientnet-b0,Dice,AdamW+AMSGrad,5e-4,16,7.3,13.4,25.49,25,.938,.960,.960,.961,24
DeepLabV3+,512,efficientnet-b1,BCE,AdamW,5e-4,20,7.4,2.2,7.93,34,.948,.962,.960,.963,22
FPN,544,efficientnet-b0,BCE,Adam+AMSGrad,1e-3,32,5.8,9.1,11.15,26,.949,.962,.960,.962,23
Linknet,480,timm-regnetx_064,BCE,AdamW,1e-4,24,29.3,39.9,33.3,40,.946,.965,.959,.961,24
PSPNet,480,timm-regnety_064,Dice,Adam,1e-4,40,29.7,14.4,14.4,29,.940,.959,.959,.960,23
PAN,512,efficientnet-b0,Jaccard,Adam+AMSGrad,1e-3,32,4.1,0.3,3.77,34,.941,.961,.960,.962,24
MA-Net,512,efficientnet-b2,Dice,Adam+AMSGrad,1e-3,24,13.4,9.9,13.0,32,.945,.956,.959,.961,24
"""
_STAGE_II = """dice_train,dice_val,dice_test,f1_train,f1_val,f1_test,memory_gb
U-net,544,dpn98,Dice+SL1,Adam+AMSGrad,1e-4,12,71.3,115.8,99.2,337,.894,.821,.894,.894,.987,.983,.985,24
U-net++,480,timm-regnety_032,Jaccard+SL1,Adam+AMSGrad,1e-4,20,27.2,54.5,54.4,215,.867,.825,.724,.702,.986,.837,.834,23
DeepLabV3,480,efficientnet-b2,Lovász+SL1,Adam,1e-2,10,11.2,12.7,33.74,223,.462,.016,.462,.500,.265,.462,.500,24
DeepLabV3+,480,timm-regnetx_032,Jaccard+L1,Adam,1e-3,36,16.1,20.1,20.1,223,.811,.769,.811,.780,.954,.936,.898,24
FPN,384,efficientnet-b0,Dice+SL1,AdamW+AMSGrad,5e-4,64,5.8,4.5,5.55,225,.865,.836,.861,.856,.989,.994,.966,23
Linknet,416,efficientnet-b0,Dice+BCE,AdamW,1e-2,48,4.2,0.5,1.43,231,.790,.744,.467,.544,.924,.586,.708,23
PSPNet,384,efficientnet-b0,Dice+BCE,AdamW,1e-3,96,4.1,0.1,0.63,257,.879,.738,.869,.771,.954,.946,.935,22
PAN,416,se_resnet50,BCE+SL1,AdamW+AMSGrad,5e-3,48,26.8,22.5,22.3,230,.484,.660,.349,.606,.872,.615,.678,24
MA-Net,544,timm-regnetx_064,Dice+L1,RMSprop,1e-4,16,103.9,79.7,79.5,195,.876,.818,.874,.733,.978,.982,.824,22
"""


def _networks(text: str) -> dict[str, PaperNetwork]:
    return {row["name"]: _network(row) for row in csv.DictReader(io.StringIO(_HEAD + text))}


def _network(row: dict[str, str]) -> PaperNetwork:
    def triple(name: str) -> Triple:
        return float(row[f"{name}_train"]), float(row[f"{name}_val"]), float(row[f"{name}_test"])

    return PaperNetwork(
        input_px=int(row["input_px"]),
        encoder=row["encoder"],
        loss=row["loss"],
        optimizer=row["optimizer"],
        learning_rate=float(row["learning_rate"]),
        batch=int(row["batch"]),
        parameters_m=float(row["parameters_m"]),
        macs_g=float(row["macs_g"]),
        macs_all_g=float(row["macs_all_g"]),
        trials=int(row["trials"]),
        dice_tuning=float(row["dice_tuning"]),
        dice=triple("dice"),
        f1=triple("f1") if "f1_train" in row else None,
        memory_gb=int(row["memory_gb"]),
    )


STAGE_I: Mapping[str, PaperNetwork] = _networks(_STAGE_I)
"""Tables 5 and 7, by architecture."""

STAGE_II: Mapping[str, PaperNetwork] = _networks(_STAGE_II)
"""Tables 6 and 8, by architecture."""

CHOSEN_STAGE_I = "DeepLabV3+"
"""The stage I of every published score."""

TABLE_9: Mapping[str, tuple[int, int]] = {
    "U-net": (77, 77),
    "U-net++": (84, 99),
    "DeepLabV3": (74, 69),
    "DeepLabV3+": (77, 77),
    "FPN": (66, 66),
    "Linknet": (38, 41),
    "PSPNet": (97, 97),
    "PAN": (102, 102),
    "MA-Net": (79, 79),
}
"""T with the least MAE and with the least RMSE, times 255."""

TABLE_9_MINIMA: Mapping[str, tuple[float, float]] = {
    "U-net": (0.280, 0.610),
    "U-net++": (0.406, 0.896),
    "DeepLabV3": (1.562, 2.695),
    "DeepLabV3+": (0.370, 0.797),
    "FPN": (0.334, 0.687),
    "Linknet": (0.383, 0.807),
    "PSPNet": (0.421, 0.876),
    "PAN": (0.520, 1.047),
    "MA-Net": (0.324, 0.696),
}
"""Least MAE and RMSE on the training subset of the published search (three decimals; the paper prints
DeepLabV3's validation values, 1.58 and 2.75, instead)."""

TABLE_10: Mapping[str, tuple[Triple, Triple]] = {
    "U-net": ((0.31, 0.32, 0.33), (0.66, 0.66, 0.68)),
    "U-net++": ((0.41, 0.40, 0.40), (0.93, 0.83, 0.91)),
    "DeepLabV3": ((1.56, 1.58, 1.47), (2.70, 2.75, 2.55)),
    "DeepLabV3+": ((0.40, 0.43, 0.36), (0.85, 0.95, 0.72)),
    "FPN": ((0.32, 0.34, 0.36), (0.68, 0.69, 0.77)),
    "Linknet": ((0.38, 0.48, 0.38), (0.80, 1.02, 0.82)),
    "PSPNet": ((0.45, 0.42, 0.38), (0.93, 0.88, 0.85)),
    "PAN": ((0.54, 0.52, 0.53), (1.08, 0.98, 1.10)),
    "MA-Net": ((0.34, 0.33, 0.30), (0.71, 0.69, 0.66)),
    "BS-net": ((2.35, 2.25, 2.52), (3.00, 2.92, 3.13)),
    "COVID-Net-S": ((1.81, 1.82, 1.83), (2.03, 2.02, 2.06)),
}
"""MAE and RMSE over all films of good quality."""

TABLE_E1: Mapping[str, tuple[Triple, Triple]] = {
    "U-net": ((0.75, 0.79, 0.80), (1.03, 1.04, 1.06)),
    "U-net++": ((1.01, 1.00, 0.95), (1.45, 1.31, 1.39)),
    "DeepLabV3": ((3.84, 3.96, 3.62), (4.23, 4.35, 3.99)),
    "DeepLabV3+": ((0.99, 1.08, 0.89), (1.34, 1.50, 1.13)),
    "FPN": ((0.76, 0.83, 0.73), (1.05, 1.08, 1.05)),
    "Linknet": ((0.92, 1.06, 0.89), (1.24, 1.45, 1.26)),
    "PSPNet": ((1.05, 0.92, 0.87), (1.43, 1.31, 1.30)),
    "PAN": ((1.11, 1.06, 1.18), (1.53, 1.32, 1.65)),
    "MA-Net": ((0.83, 0.83, 0.69), (1.12, 1.09, 0.99)),
    "BS-net": ((1.18, 1.00, 1.45), (1.63, 1.35, 1.85)),
    "COVID-Net-S": ((1.23, 1.27, 1.29), (1.44, 1.44, 1.52)),
}
"""MAE and RMSE over COVID-19 films (429, 52, 55)."""

TABLE_E2: Mapping[str, tuple[Triple, Triple]] = {
    "U-net": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "U-net++": ((0.0, 0.0, 0.03), (0.0, 0.0, 0.22)),
    "DeepLabV3": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "DeepLabV3+": ((0.00, 0.0, 0.0), (0.04, 0.0, 0.0)),
    "FPN": ((0.02, 0.01, 0.10), (0.17, 0.11, 0.50)),
    "Linknet": ((0.01, 0.10, 0.03), (0.17, 0.58, 0.22)),
    "PSPNet": ((0.04, 0.09, 0.04), (0.26, 0.38, 0.25)),
    "PAN": ((0.15, 0.17, 0.09), (0.60, 0.67, 0.43)),
    "MA-Net": ((0.0, 0.0, 0.03), (0.0, 0.0, 0.22)),
    "BS-net": ((3.15, 3.09, 3.25), (3.66, 3.61, 3.76)),
    "COVID-Net-S": ((2.21, 2.18, 2.20), (2.35, 2.33, 2.36)),
}
"""MAE and RMSE over normal films (626, 78, 80)."""

FIGURE_9: Mapping[str, tuple[float | None, float]] = {
    "MA-Net": (0.954, 0.596),
    "U-net": (0.952, 0.550),
    "DeepLabV3+": (0.943, 0.503),
    "FPN": (0.936, 0.572),
    "Linknet": (0.929, 0.589),
    "PSPNet": (0.929, 0.624),
    "U-net++": (0.911, 0.497),
    "PAN": (0.867, 0.500),
    "DeepLabV3": (None, 0.0),
    "COVID-Net-S": (0.652, 0.014),
    "BS-net": (0.524, 0.030),
}
"""Pearson's correlation and unweighted kappa on the test subset (three decimals; the paper prints two)."""

FIGURE_12: Mapping[str, tuple[float, float, float | None, float | None]] = {
    "MA-Net": (0.30, 7.9, 111.3, 81.9),
    "U-net": (0.33, 6.5, 78.7, 118.0),
    "DeepLabV3+": (0.36, 10.2, 23.5, 22.3),
    "FPN": (0.36, 9.4, 13.2, 6.7),
    "Linknet": (0.38, 11.2, 11.6, 2.7),
    "PSPNet": (0.38, 12.5, 11.5, 2.3),
    "U-net++": (0.40, 8.9, 34.6, 56.7),
    "PAN": (0.53, 9.8, 34.2, 24.7),
    "DeepLabV3": (1.47, 8.9, 18.6, 14.9),
    "COVID-Net-S": (1.83, 0.6, None, None),
    "BS-net": (2.52, 0.7, None, None),
}
"""Test MAE, images a second (RTX 2080 Ti), millions of parameters, thousands of millions of multiply-adds of
both stages. COVID-Net-S and BS-net were timed with their networks loaded anew for every image."""
