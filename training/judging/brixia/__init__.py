"""Judging of the Brixia score: tables and figures of Signoroni et al. (2021), from tables of predictions."""
