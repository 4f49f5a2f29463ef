"""What large data sets would take: time, memory and network, from a rate that you give.

  python -m benchmarks.estimate --images-per-second 20000
"""

from benchmarks.timing import number
from mae_lib.config import PretrainConfig
from mae_lib.runtime import cli
from mae_lib.training.batches import SHARD

SETS = {"ImageNet-1k": 1.28e6, "1B images": 1e9}
GPUS = (8, 256)
EPOCHS = 10
PIXELS = 3 * 96 * 96  # bytes of an image, stored as uint8
NETWORK = 50e9  # bytes a second between machines and for each GPU: 400 Gb/s


def duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def size(n: float) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9)):
        if n >= length:
            return f"{n / length:,.1f} {unit}"
    return f"{n / 1e6:,.0f} MB"


def main() -> None:
    parser = cli.parser("python -m benchmarks.estimate", __doc__)
    parser.add_argument("--images-per-second", type=number(float, above=0), required=True,
                        help="rate of one GPU")
    parser.add_argument("--batch-per-gpu", type=number(int, at_least=1), default=512,
                        help="images in a step on each GPU (default: %(default)s)")
    arguments = parser.parse_args()
    rate, batch = arguments.images_per_second, arguments.batch_per_gpu
    cfg = PretrainConfig()
    gradient = 4 * sum(p.numel() for p in cfg.build_model().parameters())
    step = batch / rate
    print(f"{rate:,.0f} images/s and a batch of {batch} on each GPU: {1e3 * step:.1f} ms a step.\n")
    print(f"| | GPUs | {EPOCHS} epochs | images on disk | read by a GPU | order of a pass "
          "| gradients sent | share of a step | features gathered | pairs compared |")
    print("|---|" + "--:|" * 9)
    for name, images in SETS.items():
        for gpus in GPUS:
            whole = gpus * batch
            sent = 2 * gradient * (gpus - 1) / gpus  # of a ring all-reduce
            cells = [
                name, str(gpus), duration(EPOCHS * images / rate / gpus), size(images * PIXELS),
                f"{size(rate * PIXELS)}/s", size(8 * -(-images // -(-images // SHARD))), size(sent),
                f"{sent / NETWORK / step:.0%}", size(whole * 192 * 4), size(4 * whole * batch),
            ]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    cli.run(main)
