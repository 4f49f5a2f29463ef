"""mae_lib: a small, readable masked autoencoder, and the course that builds it.

The modules here are the chapters, the folders are the machinery. Each imports only from those below
it:

    compare     the main job: original against improved    python -m mae_lib.compare
    evaluate    kNN, linear probe, fine-tuning             notebook 08
    pretrain    the training loop and its command line     notebook 07
    plots       pictures of results
    results     records, intervals, tables
    metrics     masked PSNR, HF error, effective rank
    losses      the three losses and their sum             notebooks 04 to 06
    config      every setting
    model       encoder, decoder, presets                  notebook 03
    masking     masks and the curriculum                   notebook 02
    patches     images to patches and back, positions      notebook 01

    course/     what only the notebooks use
    evidence/   the runs behind the claims, the verdicts, the report
    training/   batches, step, optimizer, log, checkpoints: between results and metrics
    data/       sources, generated scenes, cache, augmentation
    runtime/    devices, several processes, command lines
"""

import os

# How many times a waiting thread of GNU OpenMP (torch's) checks before it sleeps. At the default of
# 300,000, a thread that spins can hold the core that the one it waits for needs: training beside
# other work was slower in one measurement, faster in none. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"
