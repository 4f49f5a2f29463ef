"""Notebook 03: which tokens exist where, and where a patch looks."""

import functools

import ipywidgets
import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor, nn

from mae_lib import course
from mae_lib.course.reference import MAE
from mae_lib.course.widgets import Explorer, Frame, side_by_side, to_picture
from mae_lib.course.widgets.panels import font, named
from mae_lib.data.augment import denormalise, resize
from mae_lib.losses import predicted_images
from mae_lib.masking import num_visible_patches, random_mask_ids
from mae_lib.metrics import composite
from mae_lib.model import PRESETS, MaskedAutoencoder
from mae_lib.patches import patch_mask_to_pixels, patchify
from mae_lib.plots import COLOURS
from mae_lib.training.checkpoints import load_shipped

SIZES = PRESETS["specified"]
PATCHES = (SIZES["img_size"] // SIZES["patch_size"]) ** 2
VALUES = 3 * SIZES["patch_size"] ** 2
DIM, DEPTH = SIZES["embed_dim"], SIZES["depth"]
ENCODERS = ("visible patches", "all, with mask tokens")
DECODERS = ("narrow", "like the encoder")
WIDTH, LINE, UNIT = 760, 2, 0.11  # pixels: of the picture, of a token, of a value in a token
PANEL = 256  # pixels of a photograph
MASK_TOKEN, PALE = (0x56, 0xB4, 0xE9), (232, 232, 232)
FIRST = "astronaut"  # the photograph of the first picture


# ---------------------------------------------------------------- which tokens exist where


def block_multiply_adds(tokens: int, dim: int) -> int:
    """Multiply-adds of a block with an MLP four times as wide: 12·N·D² + 2·N²·D."""
    return 12 * tokens * dim**2 + 2 * tokens**2 * dim


def multiply_adds(num_visible: int, encoder: str, decoder: str) -> tuple[int, int]:
    """Those of encoder and decoder, for one forward pass of an image at the specified sizes."""
    tokens = num_visible if encoder == ENCODERS[0] else PATCHES
    dim, depth = decoder_size(decoder)
    first = num_visible * VALUES * DIM + DEPTH * block_multiply_adds(tokens, DIM)
    blocks = depth * block_multiply_adds(PATCHES, dim)
    return first, tokens * DIM * dim + blocks + PATCHES * dim * VALUES


def decoder_size(decoder: str) -> tuple[int, int]:
    """(width, number of blocks)"""
    if decoder == DECODERS[0]:
        return SIZES["decoder_embed_dim"], SIZES["decoder_depth"]
    return DIM, DEPTH


@functools.cache
def patch_colours() -> np.ndarray:
    """The mean colour of each patch of the first photograph, (196, 3) uint8."""
    photograph = course.photograph(FIRST, SIZES["img_size"])
    patches = patchify(photograph[None].float(), SIZES["patch_size"])[0]  # (L, p²·3)
    return patches.view(PATCHES, -1, 3).mean(dim=1).round().byte().numpy()


@functools.cache
def hidden_patches(num_visible: int) -> np.ndarray:
    """(196,) bool; a higher num_visible only uncovers patches."""
    noise = torch.rand(1, PATCHES, generator=torch.Generator().manual_seed(3))
    return random_mask_ids(noise, num_visible)[1][0].bool().numpy()


def token_flow(num_visible: int, encoder: str, decoder: str) -> Image.Image:
    """Every stage as a tower: a line for each token, as wide as the token has values."""
    colours, hidden = patch_colours(), hidden_patches(num_visible)
    filled = np.where(hidden[:, None], MASK_TOKEN, colours)
    target = np.where(hidden[:, None], colours, PALE)
    seen = colours[~hidden]
    dim, depth = decoder_size(decoder)
    inside = seen if encoder == ENCODERS[0] else filled
    stages = [("patches", colours, VALUES, 1), ("visible patches", seen, VALUES, 1),
              (f"encoder: {DEPTH} blocks", inside, DIM, DEPTH),
              (f"decoder: {depth} blocks", filled, dim, depth),
              ("prediction", target, VALUES, 1)]
    picture = Image.new("RGB", (WIDTH, LINE * PATCHES + 58), "white")
    draw = ImageDraw.Draw(picture)
    widths = [copies * (round(UNIT * values) + 3) - 3 for _, _, values, copies in stages]
    gap, x = (WIDTH - 40 - sum(widths)) // (len(stages) - 1), 20
    for (name, lines, values, copies), width in zip(stages, widths, strict=True):
        tower = np.repeat(lines.astype(np.uint8)[:, None], round(UNIT * values), axis=1)
        tower = Image.fromarray(tower.repeat(LINE, axis=0))
        for i in range(copies):
            y = 28 + (LINE * PATCHES - tower.height) // 2
            picture.paste(tower, (x + i * (tower.width + 3), y))
        middle = x + width // 2
        draw.text((middle, y - 6), f"{len(lines)} × {values}", "black", font(15), anchor="ms")
        draw.text((middle, LINE * PATCHES + 46), name, "black", font(15), anchor="ms")
        x += width + gap
    return picture


def cost_bars(costs: dict[str, tuple[int, int]]) -> Image.Image:
    """Multiply-adds of encoder and decoder, a bar a design, always at the same scale."""
    picture = Image.new("RGB", (WIDTH, 30 + 30 * len(costs)), "white")
    draw = ImageDraw.Draw(picture)
    most = sum(multiply_adds(PATCHES, ENCODERS[1], DECODERS[1]))
    left = 210
    scale = (WIDTH - left - 170) / most
    draw.text((20, 20), "multiply-adds, millions", "black", font(15), anchor="lb")
    for i, word in enumerate(("■ encoder", "■ decoder")):
        draw.text((left + 28 + 106 * i, 20), word, COLOURS[i], font(15), anchor="lb")
    for i, (name, cost) in enumerate(costs.items()):
        x, y = left, 30 + 30 * i
        draw.text((20, y + 11), name, "black", font(15), anchor="lm")
        for part, colour in zip(cost, COLOURS, strict=False):
            draw.rectangle((x, y, x + scale * part, y + 22), colour)
            x += scale * part
        words = " + ".join(f"{part / 1e6:,.0f}" for part in cost)
        draw.text((x + 8, y + 11), f"{words} = {sum(cost) / 1e6:,.0f}", "black", font(15),
                  anchor="lm")
    return picture


def render_flow(mask_ratio: float = 0.75, encoder_sees: str = ENCODERS[0],
                decoder: str = DECODERS[0]) -> Frame:
    """The tokens of every stage to scale, and what they cost."""
    visible = num_visible_patches(PATCHES, mask_ratio)
    cost = multiply_adds(visible, encoder_sees, decoder)
    other = multiply_adds(visible, ENCODERS[1], DECODERS[0])
    bars = cost_bars({"design shown": cost, "mask tokens in encoder": other})
    picture = np.concatenate([token_flow(visible, encoder_sees, decoder), bars])
    tokens = visible if encoder_sees == ENCODERS[0] else PATCHES
    share = cost[1] / sum(cost)
    times = sum(other) / sum(cost)
    compared = (f"{times:.2f} times the cost" if times >= 1 else
                f"only {times:.2f} of the cost, since its decoder is narrow")
    text = (f"{100 * mask_ratio:.0f} % hidden: {tokens} tokens in the encoder, {PATCHES} in the "
            f"decoder. {sum(cost) / 1e6:,.0f} million multiply-adds, {100 * share:.0f} % of them "
            "in the decoder. A narrow decoder with mask tokens in the encoder too: "
            f"{sum(other) / 1e6:,.0f} million, {compared}.")
    return Frame(picture, text)


def flow_explorer() -> Explorer:
    ratio = ipywidgets.FloatSlider(0.75, min=0, max=0.95, step=0.05, description="mask ratio")
    sees = ipywidgets.Dropdown(options=ENCODERS, description="encoder sees")
    decoder = ipywidgets.Dropdown(options=DECODERS, description="decoder")
    stills = [{"mask_ratio": 0.5}, {"mask_ratio": 0.9},
              {"mask_ratio": 0.75, "encoder_sees": ENCODERS[1],
               "title": "mask ratio 0.75, mask tokens in the encoder"},
              {"mask_ratio": 0.75, "decoder": DECODERS[1]}]
    return Explorer(render_flow, stills, mask_ratio=ratio, encoder_sees=sees, decoder=decoder)


# ---------------------------------------------------------------- where a patch looks


@functools.cache
def shipped() -> MaskedAutoencoder:
    return load_shipped("original")[0]


@torch.no_grad()
def attention_maps(model: MaskedAutoencoder, images: Tensor) -> Tensor:
    """Attention weights of the encoder, all patches visible: (blocks, B, heads, N, N)."""
    x = model.patch_embed(patchify(images, model.patch_size)) + model.pos_embed  # (B, N, D)
    maps = []
    for block in model.blocks:
        b, n, d = x.shape
        heads = block.attn.num_heads
        qkv = block.attn.qkv(block.norm1(x)).view(b, n, 3, heads, d // heads)
        q, k, _ = (part.transpose(1, 2) for part in qkv.unbind(2))  # each (B, heads, N, D / heads)
        maps.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1))  # (B, heads, N, N)
        x = block(x)
    return torch.stack(maps)


@functools.cache
def recorded(photograph: str) -> Tensor:
    """The shipped model's maps of one photograph: (blocks, heads, N, N)."""
    image = resize(course.photograph(photograph)[None], shipped().img_size)
    return attention_maps(shipped(), image)[:, 0]


@functools.cache
def sharp(photograph: str, size: int) -> np.ndarray:
    """The photograph to look at, (size, size, 3) uint8; the model gets a smaller one."""
    return to_picture(course.photograph(photograph, size) / 255)


@functools.cache
def neighbours(grid: tuple[int, int]) -> Tensor:
    """(N, N) bool: whether two patches touch or are the same."""
    rows, cols = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    place = torch.stack([rows.flatten(), cols.flatten()], dim=1)  # (N, 2)
    return ((place[:, None] - place).abs() <= 1).all(dim=2)


def frame_patch(picture: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """A copy with a white and orange square around one patch."""
    image = Image.fromarray(picture)
    box = (column * side, row * side, (column + 1) * side - 1, (row + 1) * side - 1)
    draw = ImageDraw.Draw(image)
    draw.rectangle(box, outline="white", width=5)
    draw.rectangle(box, outline=COLOURS[1], width=3)
    return np.asarray(image)


def render_attention(photograph: str = FIRST, block: int = 0, head: int = 0, row: int = 3,
                     column: int = 3) -> Frame:
    """The query patch; the photograph lit by its attention; its row of the attention matrix."""
    rows, cols = shipped().grid
    row, column = min(row, rows - 1), min(column, cols - 1)
    side = PANEL // cols
    query = row * cols + column
    look = recorded(photograph)[block, head, query]  # (N,)
    near = neighbours((rows, cols))[query]
    light = (look / look.max()).view(rows, cols).numpy()
    heat = (255 * matplotlib.colormaps["cividis"](light)[..., :3]).astype(np.uint8)
    light, heat = (x.repeat(side, 0).repeat(side, 1) for x in (light[..., None], heat))
    picture = sharp(photograph, side * cols)
    lit = (picture * (0.12 + 0.88 * light)).astype(np.uint8)
    three = [frame_patch(p, row, column, side) for p in (picture, lit, heat)]
    spread = torch.special.entr(look).sum().exp()
    text = (f"Block {block}, head {head}: the patch in row {row}, column {column} gives "
            f"{100 * look[near].sum():.0f} % of its attention to the {near.sum()} patches at and "
            f"around its place (spread evenly, it would be {100 * near.float().mean():.0f} %) and "
            f"{100 * look[query]:.0f} % to itself. Its attention is spread as widely as if "
            f"{spread:.0f} of the {len(look)} patches got equal shares.")
    return Frame(side_by_side(*three), text)


def attention_explorer() -> Explorer:
    rows, cols = shipped().grid
    blocks, heads = shipped().config["depth"], shipped().config["num_heads"]

    def slider(value: int, count: int, name: str) -> ipywidgets.IntSlider:
        return ipywidgets.IntSlider(value, min=0, max=count - 1, description=name)

    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value=FIRST,
                                     description="photograph")
    stills = [{"block": b, "head": h} for b in (0, blocks - 1) for h in (0, 1)]
    return Explorer(
        render_attention, stills, photograph=photograph, block=slider(0, blocks, "block"),
        head=slider(0, heads, "head"), row=slider(rows * 3 // 8, rows, "row"),
        column=slider(cols * 3 // 8, cols, "column"),
    )


# ---------------------------------------------------------------- the learner's model at work


def reconstruction_explorer(mae: nn.Module | None = None) -> Explorer:
    """What comes back of a photograph from `mae`, a trained `MAE` of the course, at any ratio.

    `mae` predicts plain pixels. Without one, the package's MAE with the shipped weights takes its
    place.
    """
    if mae is None:
        sizes, weights = course.shipped_weights("pixels")
        mae = MAE(**sizes).eval()
        mae.load_state_dict(weights)
    rows, cols = (round(mae.encoder.pos_embed.shape[1] ** 0.5),) * 2
    size, device = rows * mae.patch_size, mae.encoder.pos_embed.device

    @functools.cache
    def normalised(photograph: str) -> Tensor:
        return resize(course.photograph(photograph)[None], size)  # (1, 3, S, S)

    def render(photograph: str = "coffee", mask_ratio: float = 0.75, seed: int = 0) -> Frame:
        x = normalised(photograph)
        noise = torch.rand(1, rows * cols, generator=torch.Generator().manual_seed(seed))
        pred, mask, _ = (y.cpu() for y in mae(x.to(device), round(mask_ratio, 2),
                                              noise=noise.to(device)))
        found = predicted_images(pred, x, mae.patch_size, norm_pix=False)
        pixels = patch_mask_to_pixels(mask, mae.patch_size)
        seen = torch.where(pixels > 0, torch.full_like(x, 0.5), denormalise(x))
        pictures = seen, denormalise(composite(found, x, pixels)), denormalise(x)
        zoom = max(1, 240 // size)
        names = "what the encoder sees", "reconstruction", "original"
        target = patchify(x, mae.patch_size)
        error, zero = ((y - target)[mask > 0].square().mean() for y in (pred, 0))
        text = (f"{rows * cols - int(mask.sum())} of {rows * cols} patches visible; mean squared "
                f"error on the hidden ones {error:.2f}, or {zero:.2f} if we predict zeros.")
        return Frame(side_by_side(*(named(name, to_picture(picture[0], zoom))
                                    for name, picture in zip(names, pictures, strict=True))), text)

    photograph = ipywidgets.Dropdown(options=list(course.PHOTOGRAPHS), value="coffee",
                                     description="photograph")
    slider = ipywidgets.FloatSlider(0.75, min=0.05, max=0.95, step=0.05, description="mask ratio")
    seed = ipywidgets.IntSlider(0, min=0, max=20, description="seed")
    stills = [{"mask_ratio": ratio} for ratio in (0.25, 0.5, 0.75, 0.9)]
    return Explorer(render, stills, photograph=photograph, mask_ratio=slider, seed=seed)


# ---------------------------------------------------------------- the first picture


def title() -> tuple[Figure, str]:
    """The notebook's first picture, and what it shows."""
    visible = num_visible_patches(PATCHES, 0.75)
    whole = to_picture(course.photograph(FIRST, SIZES["img_size"]) / 255)
    side = (SIZES["img_size"] // SIZES["patch_size"],) * 2
    hidden = hidden_patches(visible).reshape(side)
    hidden = hidden.repeat(SIZES["patch_size"], 0).repeat(SIZES["patch_size"], 1)[..., None]
    pictures = {"the photograph": whole, "what the encoder sees": np.where(hidden, 255, whole),
                "what the decoder gets": np.where(hidden, MASK_TOKEN, whole),
                "what it should predict": np.where(hidden, whole, PALE)}
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.3, 4.6))
    for axis, (name, picture) in zip(above.subplots(1, 4), pictures.items(), strict=True):
        axis.imshow(picture.astype(np.uint8))
        axis.set_title(name, fontsize=12)
        axis.axis("off")
    axis = below.subplots()
    axis.imshow(token_flow(visible, ENCODERS[0], DECODERS[0]))
    axis.axis("off")
    return figure, ("Above, a portrait of an astronaut: whole, then only 49 of its 196 patches, "
                    "then these with a blue mask token at all other places, then the 147 patches "
                    "to predict. Below, the tokens of every stage as lines: 196 of 768 values, a "
                    "short tower of 49 in eight encoder blocks, a tall narrow one of 196 in four "
                    "decoder blocks, and 196 predictions of 768 values.")
