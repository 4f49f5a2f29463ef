def uniformity_loss(z_tokens, eps=1e-8):
    z = F.normalize(z_tokens.mean(dim=1), dim=1, eps=eps)  # (B, D)
    distance = torch.pdist(z).square()  # of every pair once: (j, i) is as far as (i, j)
    return (-2 * distance).exp().mean().log()
