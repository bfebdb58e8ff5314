"""GPUs on paper: what XLA must know of one to compile for it.

Figures are those that CUDA reports on the card, as OpenXLA publishes them in
xla/backends/gpu/target_config/specs.
"""

import dataclasses

# Options of XLA. Autotuning wants the card; without it Triton finds no tiles
# for large products. The last two save time; memory stays as it is.
OPTIONS = {
  'xla_gpu_autotune_level': 0,
  'xla_gpu_enable_triton_gemm': False,
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}


@dataclasses.dataclass(frozen=True)
class Gpu:
  """A card.

  Attributes:
    kind: jax's `device_kind`.
    capability: of CUDA, (major, minor).
    cores: streaming multiprocessors.
    clock: GHz.
    memory: bytes.
    bandwidth: bytes a second.
    l2: bytes of the second cache.
    shared: bytes of a core's shared memory; a block may have 1,024 less.
    fpus: of a core.
    hosts: so many share NVLink.
  """

  kind: str
  capability: tuple[int, int]
  cores: int
  clock: float
  memory: int
  bandwidth: int
  l2: int
  shared: int = 233472
  fpus: int = 128
  hosts: int = 1

  @property
  def target(self) -> str:
    """The text proto stream_executor.GpuTargetConfigProto."""
    major, minor = self.capability
    # Wgmma and its kin are features of the exact chip, "sm_90a".
    extension = 'ACCELERATED_FEATURES' if major >= 9 else 'NONE'
    return f"""
      platform_name: "CUDA"
      device_description_str: "{self.kind}"
      dnn_version_info {{ major: 9 minor: 10 }}
      gpu_device_info {{
        cuda_compute_capability {{
          major: {major} minor: {minor} feature_extension: {extension}
        }}
        core_count: {self.cores}
        fpus_per_core: {self.fpus}
        clock_rate_ghz: {self.clock}
        device_memory_size: {self.memory}
        memory_bandwidth: {self.bandwidth}
        l2_cache_size: {self.l2}
        shared_memory_per_core: {self.shared}
        shared_memory_per_block_optin: {self.shared - 1024}
        shared_memory_per_block: 49152
        registers_per_core_limit: 65536 registers_per_block_limit: 65536
        threads_per_core_limit: 2048 threads_per_block_limit: 1024
        threads_per_warp: 32
        thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
        block_dim_limit_x: 2147483647
        block_dim_limit_y: 65535 block_dim_limit_z: 65535
        runtime_version: "12.8.0"
      }}"""


GPUS = {
  'a100': Gpu(
    'NVIDIA A100-SXM4-80GB',
    (8, 0),
    cores=108,
    clock=1.41,
    memory=85_100_068_864,
    bandwidth=2_039_040_000_000,
    l2=41_943_040,
    shared=167_936,
    fpus=64,
  ),
  'h100': Gpu(
    'NVIDIA H100 80GB HBM3',
    (9, 0),
    cores=132,
    clock=1.98,
    memory=84_942_979_072,
    bandwidth=3_352_320_000_000,
    l2=52_428_800,
  ),
  'h200': Gpu(
    'NVIDIA H200',
    (9, 0),
    cores=132,
    clock=1.98,
    memory=151_397_597_184,
    bandwidth=4_800_000_000_000,
    l2=52_428_800,
  ),
  'b200': Gpu(
    'NVIDIA B200',
    (10, 0),
    cores=148,
    clock=1.965,
    memory=191_514_411_008,
    bandwidth=7_672_320_000_000,
    l2=132_644_864,
  ),
  'gb200': Gpu(
    'NVIDIA GB200',
    (10, 0),
    cores=152,
    clock=2.062,
    memory=197_897_748_480,
    bandwidth=7_928_064_000_000,
    l2=135_528_448,
    hosts=18,  # the 72 of a rack, four a host
  ),
}
