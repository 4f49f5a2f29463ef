"""A second registration: what the runs of the first suggested, judged on new ones.

The first registration has contrasts without a claim. In one of them, the uniformity loss at a fifth
of the report's strength, the probe gained 1.1 points [+0.7, +1.6] over six pairs. Among nine
contrasts, one looks good by luck alone. So it becomes a claim of our own, and so does a combination
that no run has tried: with the energy form, which gained 0.4 points [-0.2, +0.9] over eight pairs.

A claim is confirmed only if the whole 95 % interval (Student's t over pairs of the same seed) lies
on its side of the limit, and refuted if the whole interval lies on the other side. A run that
diverges leaves its pair out. There is no verdict before all runs are there, and nothing is changed
after the first of them has begun.
"""

WEAK = "uniformity+lambda_unif=0.002"  # against "original": as many multiply-adds, losses aside
BOTH = "energy+lambda_freq=0.2+uniformity+lambda_unif=0.002"
AGAIN = "small, tuned, again"  # the runs that judge: as SMALL, with seeds that no run had before
AGAIN_SEEDS = tuple(range(11, 23))
ANY_GAIN = 0.0  # points of linear-probe accuracy that WEAK gains at least
LEAST_GAIN = 1.0  # that BOTH gains at least: the smallest gain worth having
MOST_HARM = 0.5  # points of fine-tuned accuracy that BOTH loses at most
