"""mae_lib: a small, readable masked autoencoder, and everything around it.

Read the modules in this order: patches, masking, model, losses, metrics; scenes, cache, data,
augment; hardware, cli, optim, checkpoints, config, history, batches, distributed, step, pretrain;
results, evaluate, plots, compare; compute, plan, workers, experiments, evidence, claims,
report, ship.
"""

import os

# How long a thread of GNU OpenMP, which torch runs on, stays awake waiting for the others. With the
# usual 300,000 turns, training beside other work is slower: a waiting thread holds the core that
# the one it waits for needs. Read when torch is loaded, so set before.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"
