"""mae_lib: a small, readable masked autoencoder, and everything around it.

Read the modules in this order: patches, masking, model, losses, metrics; scenes, cache, data,
augment; hardware, optim, checkpoints, config, history, pretrain; results, evaluate, plots, compare;
compute, experiments.
"""

__version__ = "0.1.0"
