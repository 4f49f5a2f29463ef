class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        size = d // self.num_heads
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, size)
        shares = (q @ k.mT / size**0.5).softmax(dim=-1)  # (B, heads, N, N)
        x = (shares @ v).transpose(1, 2)  # (B, N, heads, size)
        return self.proj(x.reshape(b, n, d))
