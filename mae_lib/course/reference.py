"""The package's version of every part that a learner builds, in the form of the exercises.

It stands in for parts that are not the learner's yet: see `seam`, which lists them all. The rest of
the package does the same with more options and more speed, and cites the papers (`patches`,
`masking`, `model`, `losses`, `training`, `evaluate`); the tests compare the two. Like a learner's
file, this one uses nothing but torch, nn, F, math, copy, Tensor and the parts before it, and a
helper stands in front of its part.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patchify(images, patch_size):
    """Cut images (B, C, H, W) into patches (B, L, p·p·C): row, column, channel in each."""
    b, c, h, w = images.shape
    x = images.reshape(b, c, h // patch_size, patch_size, w // patch_size, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, patch_size * patch_size * c)


def unpatchify(patches, patch_size, rows, cols):
    """Put patches (B, rows·cols, p·p·C) back together into images (B, C, H, W)."""
    x = patches.reshape(len(patches), rows, cols, patch_size, patch_size, -1)
    x = x.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, p, cols, p)
    return x.reshape(len(patches), -1, rows * patch_size, cols * patch_size)


def sincos_positions(dim, rows, cols):
    """The position embedding of each place of the grid, (rows·cols, dim): column, then row."""
    frequencies = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (x, y)]  # (L, dim/4) each
    return torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], dim=1).float()


def random_masking(x, mask_ratio, noise=None):
    """Keep the patches of x (B, L, D) with the smallest noise (B, L).

    Returns x_vis (B, L_vis, D), mask (B, L) with 1 = hidden, and ids_restore (B, L).
    """
    b, length, d = x.shape
    visible = int(length * (1 - mask_ratio))
    if noise is None:
        noise = torch.rand(b, length, device=x.device)
    ids_shuffle = noise.argsort(dim=1)
    ids_restore = ids_shuffle.argsort(dim=1)
    x_vis = x.gather(1, ids_shuffle[:, :visible, None].expand(-1, -1, d))
    return x_vis, (ids_restore >= visible).float(), ids_restore


def schedule_mask_ratio(epoch, step, iters, cfg):
    """The mask ratio at a step: constant, or a linear or cosine ramp over the first epochs."""
    time = epoch + step / iters
    if cfg.mask_ratio_sched == "const" or time >= cfg.mask_ratio_warmup_epochs:
        return cfg.mask_ratio
    progress = time / cfg.mask_ratio_warmup_epochs
    if cfg.mask_ratio_sched == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return cfg.mask_ratio_start + (cfg.mask_ratio - cfg.mask_ratio_start) * progress


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, D) → (B, N, D)."""

    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim, hidden_dim):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm Transformer block: (B, N, D) → (B, N, D)."""

    def __init__(self, dim, num_heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Cut images into patches and project each linearly, as one convolution: (B, L, D)."""

    def __init__(self, patch_size, dim):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, images):
        return self.proj(images).flatten(2).mT


class Encoder(nn.Module):
    """Images (B, 3, S, S) → visible tokens (B, L_vis, D), mask (B, L), ids_restore (B, L)."""

    def __init__(self, img_size=224, patch_size=16, dim=192, depth=8, num_heads=6):
        super().__init__()
        side = img_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, dim)
        self.register_buffer("pos_embed", sincos_positions(dim, side, side)[None])
        self.blocks = nn.ModuleList([Block(dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, images, mask_ratio=0.75, noise=None):
        x = self.patch_embed(images) + self.pos_embed
        x, mask, ids_restore = random_masking(x, mask_ratio, noise)
        for block in self.blocks:
            x = block(x)
        return self.norm(x), mask, ids_restore


class Decoder(nn.Module):
    """Visible tokens (B, L_vis, D) → a prediction for every patch, (B, L, p·p·3)."""

    def __init__(self, img_size=224, patch_size=16, dim=192, decoder_dim=128, depth=4, num_heads=4):
        super().__init__()
        side = img_size // patch_size
        self.embed = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.register_buffer("pos_embed", sincos_positions(decoder_dim, side, side)[None])
        self.blocks = nn.ModuleList([Block(decoder_dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(decoder_dim, eps=1e-6)
        self.pred = nn.Linear(decoder_dim, patch_size * patch_size * 3)

    def forward(self, latent, ids_restore):
        x = self.embed(latent)
        b, visible, d = x.shape
        hidden = self.mask_token.expand(b, ids_restore.shape[1] - visible, d)
        x = torch.cat([x, hidden], dim=1).gather(1, ids_restore[:, :, None].expand(-1, -1, d))
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))


class MAE(nn.Module):
    """Images (B, 3, S, S) → prediction (B, L, p·p·3), mask (B, L), latent (B, L_vis, D)."""

    def __init__(self, img_size=224, patch_size=16, embed_dim=192, depth=8, num_heads=6,
                 decoder_embed_dim=128, decoder_depth=4, decoder_num_heads=4):
        super().__init__()
        self.patch_size = patch_size
        self.encoder = Encoder(img_size, patch_size, embed_dim, depth, num_heads)
        self.decoder = Decoder(img_size, patch_size, embed_dim, decoder_embed_dim, decoder_depth,
                               decoder_num_heads)
        for module in self.modules():  # as in the official code
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.decoder.mask_token, std=0.02)

    def forward(self, images, mask_ratio=0.75, noise=None):
        latent, mask, ids_restore = self.encoder(images, mask_ratio, noise)
        return self.decoder(latent, ids_restore), mask, latent


def mae_loss(pred, images, mask, patch_size, norm_pix=False):
    """Mean squared error of pred (B, L, p·p·C) on patches where mask (B, L) is 1.

    With `norm_pix`, each target patch is normalised by its own mean and variance.
    """
    target = patchify(images, patch_size)
    if norm_pix:
        mean, var = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
        target = (target - mean) / (var + 1e-6).sqrt()
    error = (pred - target).square().mean(dim=-1)  # (B, L)
    return (error * mask).sum() / mask.sum()


def laplacian_loss_masked(pred_img, tgt_img, mask_img):
    """Mean absolute difference of the Laplacians of composite and target, on hidden pixels.

    Images (B, C, H, W); where mask_img (B, 1, H, W) is 1, the composite is pred_img, else tgt_img.
    """
    composite = torch.where(mask_img > 0, pred_img, tgt_img)
    kernel = tgt_img.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    channels = tgt_img.shape[1]
    kernel = kernel.expand(channels, 1, 3, 3)  # one for each channel
    error = F.conv2d(composite - tgt_img, kernel, groups=channels).abs()
    inner = mask_img[:, :, 1:-1, 1:-1]  # the border has no neighbours to compare with
    return (error * inner).sum() / (channels * inner.sum().clamp(min=1))


def uniformity_loss(z_tokens, eps=1e-8):
    """log of the mean over pairs of images of exp(−2 ‖zᵢ − zⱼ‖²), from tokens (B, N, D)."""
    z = F.normalize(z_tokens.mean(dim=1), dim=1, eps=eps)  # (B, D)
    square = z.square().sum(dim=1)
    distance = (square[:, None] + square - 2 * z @ z.T).clamp(min=0)  # ‖zᵢ − zⱼ‖², (B, B)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return (-2 * distance)[~itself].logsumexp(dim=0) - math.log(len(z) * (len(z) - 1))


def schedule_learning_rate(epoch, step, iters, cfg):
    """The learning rate at a step: a linear warm-up, then half a cosine down to 0."""
    time = epoch + step / iters
    if time < cfg.warmup_epochs:
        return cfg.lr * time / cfg.warmup_epochs
    progress = (time - cfg.warmup_epochs) / (cfg.epochs - cfg.warmup_epochs)
    return cfg.lr * (1 + math.cos(math.pi * progress)) / 2


def parameter_groups(model, weight_decay):
    """Groups for AdamW: matrices decay; biases, norms and tokens do not."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        alone = parameter.ndim < 2 or name.endswith("_token")
        (others if alone else matrices).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0}]


def total_loss(pred, images, mask, latent, patch_size, cfg):
    """The reconstruction loss, and those add-ons whose weight in `cfg` is not 0."""
    loss = mae_loss(pred, images, mask, patch_size, cfg.norm_pix)
    if cfg.lambda_freq:
        if cfg.norm_pix:  # back to the units of the image
            patches = patchify(images, patch_size)
            std = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
            pred = pred * std + patches.mean(dim=-1, keepdim=True)
        grid = images.shape[2] // patch_size, images.shape[3] // patch_size
        mask_img = unpatchify(mask[:, :, None].expand_as(pred), patch_size, *grid)[:, :1]
        pred_img = unpatchify(pred, patch_size, *grid)
        loss = loss + cfg.lambda_freq * laplacian_loss_masked(pred_img, images, mask_img)
    if cfg.lambda_unif:
        loss = loss + cfg.lambda_unif * uniformity_loss(latent)
    return loss


def train_step(model, optimizer, images, lr, mask_ratio, cfg):
    """One update of the weights on a batch of images; returns the loss before it, detached."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    with torch.autocast(images.device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
        pred, mask, latent = model(images, mask_ratio)
    loss = total_loss(pred.float(), images, mask, latent.float(), model.patch_size, cfg)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def train(model, optimizer, batch_at, iters, cfg, start=0):
    """Train until `cfg.epochs` of `iters` steps are over, on batch_at(step); returns the losses."""
    model.train()
    losses = []
    for step in range(start, cfg.epochs * iters):
        epoch, i = divmod(step, iters)
        lr = schedule_learning_rate(epoch, i, iters, cfg)
        mask_ratio = schedule_mask_ratio(epoch, i, iters, cfg)
        losses.append(train_step(model, optimizer, batch_at(step), lr, mask_ratio, cfg))
    return torch.stack(losses)


def snapshot(model, optimizer, step):
    """All that it takes to go on from here, as it is now."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    return copy.deepcopy(state)


def extract_features(encoder, images, batch_size=64):
    """The mean token of each image (N, 3, S, S), nothing hidden, no gradient: (N, D)."""
    encoder.eval()
    with torch.no_grad():
        found = [encoder(x, mask_ratio=0.0)[0].mean(dim=1) for x in images.split(batch_size)]
    return torch.cat(found)


def knn_predict(train, labels, test, k, classes):
    """Labels (M,) of test (M, D): the k most similar of train (N, D) vote by exp(cosine / 0.07)."""
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    nearest, ids = similarity.topk(k, dim=1)  # (M, k) each
    votes = torch.zeros(len(test), classes, device=test.device)
    return votes.scatter_add(1, labels[ids], (nearest / 0.07).exp()).argmax(dim=1)


def fit_probe(x, labels, classes, decay):
    """Weight (D, classes) and bias (classes,) that minimise cross-entropy + decay/2 · ‖weight‖²."""
    weight = torch.zeros(x.shape[1], classes, device=x.device, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, labels) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def fine_tune(encoder, head, optimizer, batch_at, iters, cfg):
    """Train encoder and head on images and labels = batch_at(step); returns the losses."""
    encoder.train()
    losses = []
    for step in range(cfg.epochs * iters):
        epoch, i = divmod(step, iters)
        lr = schedule_learning_rate(epoch, i, iters, cfg)
        for group in optimizer.param_groups:  # the lower a layer, the more slowly it learns
            group["lr"] = lr * group.get("lr_scale", 1.0)
        images, labels = batch_at(step)
        logits = head(encoder(images, mask_ratio=0.0)[0].mean(dim=1))
        loss = F.cross_entropy(logits, labels, label_smoothing=cfg.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def from_official(weights):
    """Weights under the names of the official code, as this file's MAE names them."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        in_decoder = name.startswith("decoder_") or name == "mask_token"
        place = "decoder." if in_decoder else "encoder."
        found[place + name.removeprefix("decoder_")] = value
    return found


def to_official(weights):
    """The inverse of `from_official`."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        place, name = name.split(".", 1)
        prefix = "decoder_" if place == "decoder" and name != "mask_token" else ""
        found[prefix + name] = value
    return found
