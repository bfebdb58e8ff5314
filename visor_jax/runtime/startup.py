"""How a process joins a run: with the same code, versions and config."""

import jax
import ml_collections

from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import environment
from visor_jax.runtime import identity
from visor_jax.runtime import provenance

NAMED = 8  # hosts that process 0 names; of more it says how many


def join(
  process: environment.Process,
  config: ml_collections.ConfigDict,
  timeout: int,
) -> None:
  """Joins the other processes, if there are any; process 0 says who is there.

  Args:
    process: this one among them.
    config: the whole config, the same everywhere.
    timeout: seconds to wait for the others.

  Raises:
    TimeoutError: naming who is missing.
    ValueError: naming who differs in code, versions or config.
  """
  code, versions = provenance.code(), provenance.versions()
  keys = {
    f'config.{key}': value for key, value in identity.flatten(config).items()
  }
  facts = {'the code of visor_jax': code} | versions | keys
  cluster.join(process, facts, timeout)
  if not cluster.is_primary():
    console.mute()
  hosts, devices = cluster.hosts(), jax.devices()
  more = f' and {len(hosts) - NAMED} more' if len(hosts) > NAMED else ''
  console.log(
    f'{process.count} process(es) on {", ".join(hosts[:NAMED])}{more} '
    f'({process.source}), {len(devices)} {devices[0].device_kind} device(s); '
    f'code {code}, '
    + ', '.join(f'{name} {version}' for name, version in versions.items())
  )
