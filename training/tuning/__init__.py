"""Search for the hyperparameters of one stage (Danilov et al. 2022, section "Tuning", Table C1)."""
