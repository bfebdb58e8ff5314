"""Accelerators by their data sheets: the most FLOPs a second."""

# bfloat16 without sparsity, by the beginning of jax's `device_kind`; the first
# that fits. TPUs: cloud.google.com/tpu/docs, "Peak compute per chip (bf16)".
# GPUs: NVIDIA's data sheets, dense Tensor Core FLOPs of SXM modules.
PEAK = (
  ('TPU v4', 275e12),
  ('TPU v5 lite', 197e12),
  ('TPU v5e', 197e12),
  ('TPU v5', 459e12),
  ('TPU v6', 918e12),
  ('NVIDIA A100', 312e12),
  ('NVIDIA H100 PCIe', 756e12),
  ('NVIDIA H100 NVL', 835e12),
  ('NVIDIA H100', 989e12),
  ('NVIDIA H200', 989e12),
  ('NVIDIA B200', 2250e12),
)


def peak(kind: str) -> float | None:
  """FLOPs a second of a device at most; None where nobody says.

  Args:
    kind: `jax.Device.device_kind`.
  """
  return next((p for name, p in PEAK if kind.startswith(name)), None)
