"""BS-Net: the Brixia score of a chest radiograph, end to end (Signoroni et al. 2021)."""
