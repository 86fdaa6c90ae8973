"""What a training run is made of: settings, batches, losses, optimisers, its state, tuning."""
