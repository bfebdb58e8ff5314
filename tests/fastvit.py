"""timm's `fastvit_mci3` in its inference form, without timm.

Names of parameters, shapes and numbers are timm's: a drill holds it to the
library, which needs more than a suite should (torchvision).
"""

import torch
from torch import nn
from torch.nn import functional as F


def _conv(width, to, side, groups=1, stride=1, bias=True):
  return nn.Conv2d(width, to, side, stride, side // 2, groups=groups, bias=bias)


def _reparam(conv):
  return nn.ModuleDict(dict(reparam_conv=conv))


class _LayerScale(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.gamma = nn.Parameter(torch.full((width, 1, 1), 1e-5))

  def forward(self, x):
    return self.gamma * x


class _Mlp(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.conv = nn.ModuleDict(
      dict(
        conv=_conv(width, width, 7, width, bias=False),
        bn=nn.BatchNorm2d(width),
      )
    )
    self.fc1 = _conv(width, 4 * width, 1)
    self.fc2 = _conv(4 * width, width, 1)

  def forward(self, x):
    return self.fc2(F.gelu(self.fc1(self.conv.bn(self.conv.conv(x)))))


class _RepMixerBlock(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.token_mixer = _reparam(_conv(width, width, 3, width))
    self.mlp, self.layer_scale = _Mlp(width), _LayerScale(width)

  def forward(self, x):
    x = self.token_mixer.reparam_conv(x)
    return x + self.layer_scale(self.mlp(x))


class _AttentionBlock(nn.Module):
  def __init__(self, width):
    super().__init__()
    self.norm = nn.LayerNorm(width)
    self.token_mixer = nn.ModuleDict(
      dict(
        qkv=nn.Linear(width, 3 * width, bias=False),
        proj=nn.Linear(width, width),
      )
    )
    self.layer_scale_1 = _LayerScale(width)
    self.mlp, self.layer_scale_2 = _Mlp(width), _LayerScale(width)

  def forward(self, x):
    b, c, h, w = x.shape
    y = self.norm(x.flatten(2).mT)
    qkv = self.token_mixer.qkv(y).view(b, h * w, 3, c // 32, 32)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    y = (q * 32**-0.5 @ k.mT).softmax(-1) @ v
    y = self.token_mixer.proj(y.transpose(1, 2).reshape(b, h * w, c))
    x = x + self.layer_scale_1(y.mT.reshape(x.shape))
    return x + self.layer_scale_2(self.mlp(x))


class _Stage(nn.Module):
  def __init__(self, before, width, depth, attention):
    super().__init__()
    self.downsample = self.pos_emb = None
    if before:
      down = _conv(before, width, 7, before, 2), _conv(width, width, 1)
      self.downsample = nn.ModuleDict(
        dict(proj=nn.ModuleList(map(_reparam, down)))
      )
    if attention:
      self.pos_emb = _reparam(_conv(width, width, 7, width))
    block = _AttentionBlock if attention else _RepMixerBlock
    self.blocks = nn.Sequential(*(block(width) for _ in range(depth)))

  def forward(self, x):
    if self.downsample:
      for part in self.downsample.proj:
        x = F.gelu(part.reparam_conv(x))
    if self.pos_emb:
      x = self.pos_emb.reparam_conv(x)
    return self.blocks(x)


class FastVit(nn.Module):
  """What `timm.create_model('fastvit_mci3', inference_mode=True)` makes.

  Args:
    layers: of each stage.
    embed_dims: width of each stage.
  """

  def __init__(
    self, layers=(2, 12, 24, 4, 2), embed_dims=(96, 192, 384, 768, 1536)
  ):
    super().__init__()
    first, last = embed_dims[0], 2 * embed_dims[-1]
    stem = (
      _conv(3, first, 3, stride=2),
      _conv(first, first, 3, first, 2),
      _conv(first, first, 1),
    )
    self.stem = nn.ModuleList(map(_reparam, stem))
    self.stages = nn.Sequential(
      *(
        _Stage(before, width, depth, attention=number > 2)
        for number, (before, width, depth) in enumerate(
          zip((0, *embed_dims), embed_dims, layers)
        )
      )
    )
    self.final_conv = _reparam(_conv(last // 2, last, 3, last // 2))
    self.final_conv['se'] = nn.ModuleDict(
      dict(fc1=_conv(last, last // 16, 1), fc2=_conv(last // 16, last, 1))
    )

  def forward_head(self, x):
    """What a classifier would read; FastVLM does not."""
    return x.mean((2, 3))

  def forward_features(self, x):
    """[tiles, 3, height, width] -> [tiles, features, rows, columns]."""
    for part in self.stem:
      x = F.gelu(part.reparam_conv(x))
    x = self.final_conv.reparam_conv(self.stages(x))
    se = self.final_conv.se
    y = se.fc2(F.relu(se.fc1(x.mean((2, 3), keepdim=True))))
    return F.gelu(x * y.sigmoid())
