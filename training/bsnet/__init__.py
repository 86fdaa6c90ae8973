"""How BS-Net is trained: films and labels, augmentation, the synthetic alignment set, losses, phases."""
