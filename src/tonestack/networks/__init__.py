"""What a network is: layers, models, losses, weights from files. Torch, but no data and no training."""
