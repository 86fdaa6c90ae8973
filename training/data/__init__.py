"""Films and what is known of them: readers, checks, the data folder, subsets and folds."""
