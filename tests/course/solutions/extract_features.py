@torch.no_grad()
def extract_features(encoder, images, batch_size=64):
    encoder.eval()
    features = []
    for batch in images.split(batch_size):
        tokens, _, _ = encoder(batch, mask_ratio=0.0)  # (B, L, D)
        features.append(tokens.mean(dim=1))
    return torch.cat(features)
