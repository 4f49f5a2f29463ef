"""What a training run is made of: batches, the step, the optimizer, its log, its checkpoints."""
