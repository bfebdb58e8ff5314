"""What preflight found, for people."""

from visor_jax.preflight import examine
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import propose

GIB = machine_lib.GIB


def text(report: examine.Report) -> str:
  """A report of `examine.examine`, some lines."""
  mesh = ' x '.join(f'{axis} {n}' for axis, n in report['mesh'].items())
  lines = [
    f'{report["stage"]} on {report["topology"]}: {report["devices"]} devices, '
    f'mesh {mesh}, batch {report["batch"]}'
  ]
  if 'held' in report:
    lines += _memory(report)
  if 'prefill' in report:
    lines += _prefill(report['prefill'])
  if 'most' in report:
    lines += _step(report)
  lines.append(_verdict(report))
  if report['same']:
    lines.append(f'and so it is with {", ".join(report["same"])}')
  if 'proposal' in report:
    lines.append(_proposal(report['proposal']))
  return '\n'.join(lines)


def _line(label: str, value: float, more: str = '') -> str:
  return f'  {label:24}{value:>12.4g}{more}'


def _memory(report: examine.Report) -> list[str]:
  held = report['held']
  lines = [
    'memory of a device, GiB',
    _line('parameters that train', held['trained'] / GIB),
    _line('frozen parameters', held['frozen'] / GIB),
    _line('optimizer', held['optimizer'] / GIB),
    _line('batch', held['batch'] / GIB),
  ]
  if 'temporaries' in report:
    gradients = f', gradients ({held["trained"] / GIB:.3g}) among them'
    lines.append(_line('temporaries', report['temporaries'] / GIB, gradients))
  if 'total' in report:
    room = report['available']
    lines.append(_line('code', report['code'] / GIB))
    lines.append(
      _line(
        'total', report['total'] / GIB, f' of {room / GIB:.2f}' if room else ''
      )
    )
  return lines


def _prefill(plans: dict[str, dict[str, int]]) -> list[str]:
  rows = [
    _line(plan, flops['nominal'] / 1e12, f'{flops["executed"] / 1e12:>12.4g}')
    for plan, flops in plans.items()
  ]
  return [
    'prefill of a full row, TFLOPs',
    f'  {"plan":24}{"nominal":>12}{"executed":>12}',
    *rows,
  ]


def _step(report: examine.Report) -> list[str]:
  most, seconds = report['most'], report['seconds']
  lines = ['a step on a device']
  for label, count in (('dearest', most), ('cheapest', report['least'])):
    peak = count['seconds_at_peak']
    lines.append(
      _line(
        f'TFLOPs, {label} plan',
        count['flops'] / 1e12,
        f', {peak:.3g} s at the peak' if peak else '',
      )
    )
  lines.append('sent by a device in a step of the dearest plan, GB')
  lines += [
    _line(f'{sent["kind"]} {sent["axes"]}', sent['bytes'] / 1e9)
    for sent in most['sent']
  ]
  if most['kernels']:
    lines.append(f'  {most["kernels"]} calls of kernels are not counted')
  if most['unknown_loops']:
    lines.append(
      f'  {most["unknown_loops"]} loops of unknown length count once'
    )
  lines.append(
    f'lowered in {seconds["lower"]:.0f} s, compiled in '
    f'{seconds["compile"]:.0f} s; {seconds["cpu"]:.0f} s of CPU'
  )
  return lines


def _verdict(report: examine.Report) -> str:
  if report['fits'] is None:
    return 'fits? say how many GiB a device has: --memory'
  if report['fits']:
    return 'fits'
  if report['reason']:
    return f'does not fit: {report["reason"]}'
  return (
    f'does not fit: {report["total"] / GIB:.2f} GiB, a device has '
    f'{report["available"] / GIB:.2f}'
  )


def _proposal(proposal: dict) -> str:
  if proposal['changes']:
    return (
      f'fits with {propose.flags(proposal["changes"])}: '
      f'{proposal["bytes"] / GIB:.2f} GiB'
    )
  return f'nothing near it fits; {len(proposal["tried"])} tried'
