"""Accelerators by their data sheets: what they do in a second at most."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
  """Of what jax calls a device, which of a TPU7x chip is a half.

  Attributes:
    flops: a second, bfloat16, dense.
    bandwidth: bytes a second to and from its memory.
    link: bytes a second that it sends to its neighbours, one way.
    network: bytes a second that it sends to other hosts, or slices of TPUs.
    devices: that jax takes a chip for.
  """

  flops: float
  bandwidth: float
  link: float
  network: float
  devices: int = 1


# By the beginning of jax's `device_kind`; the first that fits.
#
# TPUs: cloud.google.com/tpu/docs, "Peak compute per chip (BF16)", "HBM
# bandwidth", half of "Bidirectional inter-chip interconnect bandwidth" and the
# data center network's bandwidth by chips.
# NVIDIA: data sheets of SXM modules, Tensor Core FLOPs without sparsity; half
# of NVLink's bandwidth; a network card for each GPU as in DGX systems: 200 Gb/s
# beside A100, 400 beside Hopper and Blackwell, 800 beside B300. GB200 and
# GB300: the NVL72 data sheets by 72.
# AMD: the data sheet of MI300X, seven links of 64 GB/s.
CHIPS = (
  ('TPU v4', Chip(275e12, 1228e9, 300e9, 6.25e9)),
  ('TPU v5 lite', Chip(197e12, 819e9, 200e9, 3.125e9)),
  ('TPU v5e', Chip(197e12, 819e9, 200e9, 3.125e9)),
  ('TPU v5', Chip(459e12, 2765e9, 600e9, 6.25e9)),
  ('TPU v6', Chip(918e12, 1640e9, 400e9, 12.5e9)),
  ('TPU7x', Chip(1153.5e12, 3690e9, 300e9, 6.25e9, 2)),
  ('NVIDIA A100-SXM4-40GB', Chip(312e12, 1555e9, 300e9, 25e9)),
  ('NVIDIA A100', Chip(312e12, 2039e9, 300e9, 25e9)),
  ('NVIDIA H100 PCIe', Chip(756e12, 2000e9, 300e9, 50e9)),
  ('NVIDIA H100 NVL', Chip(835e12, 3900e9, 300e9, 50e9)),
  ('NVIDIA H100', Chip(989e12, 3352e9, 450e9, 50e9)),
  ('NVIDIA GH200', Chip(990e12, 4000e9, 450e9, 50e9)),
  ('NVIDIA H200', Chip(989e12, 4800e9, 450e9, 50e9)),
  ('NVIDIA B200', Chip(2250e12, 8000e9, 900e9, 50e9)),
  ('NVIDIA GB200', Chip(2500e12, 8000e9, 900e9, 50e9)),
  ('NVIDIA B300', Chip(2250e12, 8000e9, 900e9, 100e9)),
  ('NVIDIA GB300', Chip(2500e12, 8000e9, 900e9, 100e9)),
  ('AMD Instinct MI300X', Chip(1307.4e12, 5300e9, 448e9, 50e9)),
)


def named(kind: str) -> Chip | None:
  """A device's data sheet; None where there is none.

  Args:
    kind: `jax.Device.device_kind`.
  """
  return next((chip for name, chip in CHIPS if kind.startswith(name)), None)


def peak(kind: str) -> float | None:
  """FLOPs a second of a device at most; argument as of `named`."""
  chip = named(kind)
  return chip.flops if chip else None
