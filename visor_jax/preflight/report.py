"""What preflight found, for people."""

from collections.abc import Sequence

from visor_jax.preflight import examine
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import propose

GIB = machine_lib.GIB
_PLANS = ('dearest plan', 'cheapest')


def text(report: examine.Report) -> str:
  """A report of `examine.examine`, its verdict first."""
  mesh = ' x '.join(f'{axis} {n}' for axis, n in report['mesh'].items())
  lines = [
    f'{report["stage"]} on {report["topology"]}: {report["devices"]} devices, '
    f'mesh {mesh}, batch {report["batch"]}',
    _verdict(report),
  ]
  if report['same']:
    lines.append(f'and so it is with {", ".join(report["same"])}')
  for key, part in (
    ('held', _memory),
    ('prefill', _prefill),
    ('most', _step),
    ('roofline', _roofline),
  ):
    if key in report:
      lines += part(report)
  return '\n'.join(lines)


def _verdict(report: examine.Report) -> str:
  if report['reason']:
    return f'does not fit: {report["reason"]}'
  needs = f'{report["total"] / GIB:.2f} GiB'
  if report['fits'] is None:
    return f'fits? it takes {needs}: say how many a device has, --memory'
  room = f'{needs}, a device has {report["available"] / GIB:.2f}'
  if report['setting']:
    room += f' with {report["setting"]}'
  return f'fits: {room}' if report['fits'] else f'does not fit: {room}'


def _line(label: str, value: float, more: str = '') -> str:
  return f'  {label:24}{value:>12.4g}{more}'


def _columns(label: str, *values: float) -> str:
  return f'  {label:24}' + ''.join(f'{value:>12.4g}' for value in values)


def _heading(label: str, *columns: str) -> str:
  return f'{label:26}' + ''.join(f'{column:>12}' for column in columns)


def _memory(report: examine.Report) -> list[str]:
  held = report['held']
  lines = [
    'memory of a device, GiB',
    _line('parameters that train', held['trained'] / GIB),
    _line('frozen parameters', held['frozen'] / GIB),
    _line('optimizer', held['optimizer'] / GIB),
    _line('batch', held['batch'] / GIB),
  ]
  if report['temporaries'] is not None:
    lines.append(
      _line('temporaries', report['temporaries'] / GIB, ', with gradients')
    )
  if 'total' in report:
    lines.append(_line('code', report['code'] / GIB))
    lines.append(_line('total', report['total'] / GIB))
  return lines


def _prefill(report: examine.Report) -> list[str]:
  return [
    _heading('prefill of a row, TFLOPs', 'nominal', 'executed'),
    *(
      _columns(plan, flops['nominal'] / 1e12, flops['executed'] / 1e12)
      for plan, flops in report['prefill'].items()
    ),
  ]


def _step(report: examine.Report) -> list[str]:
  most, least, seconds = report['most'], report['least'], report['seconds']
  lines = [
    _heading('a step on a device', *_PLANS),
    *(
      _columns(label, most[key] / unit, least[key] / unit)
      for key, label, unit in (
        ('flops', 'TFLOPs', 1e12),
        ('moved', 'to and from memory, TB', 1e12),
        ('between', 'sent to other hosts, GB', 1e9),
      )
    ),
  ]
  if most['sent']:
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


def _roofline(report: examine.Report) -> list[str]:
  bounds = report['roofline'].values()
  lines = [
    _heading('roofline, seconds a step', *_PLANS),
    *(
      _columns(label, *(bound[key] for bound in bounds))
      for key, label in (
        ('products', 'products'),
        ('memory', 'memory'),
        ('links', 'links'),
        ('network', 'between hosts'),
        ('seconds', 'at least'),
      )
    ),
  ]
  utilisation = [bound['mfu'] for bound in bounds]
  if None not in utilisation:
    lines.append(
      _columns('MFU, % at most', *(100 * mfu for mfu in utilisation))
    )
  return lines


def hours(reports: Sequence[examine.Report], share: float) -> str:
  """What stages take, and all of them together; '' where nobody can say.

  Args:
    reports: of all stages asked for.
    share: of the roofline that they reach.
  """
  timed = [report for report in reports if 'stages' in report]
  if not timed:
    return ''
  lines = [
    _heading(f'at {share:.0%} of the roofline', 'steps', 'hours', 'chip-hours')
  ]
  rows: list[tuple] = []
  for report in timed:
    for stage in report['stages']:
      one = stage['steps'] * stage['seconds'] / share / 3600
      taken = (stage['steps'], one, one * report['chips'])
      rows.append((f'{stage["stage"]}, {stage["plan"]}', *taken))
  _, *columns = zip(*rows)
  rows.append(('all training', *map(sum, columns)))
  lines += [
    f'  {label:24}{steps:>12,}{time:>12,.1f}{chip_time:>12,.0f}'
    for label, steps, time, chip_time in rows
  ]
  missing = [
    name
    for report in reports
    if 'stages' not in report
    for name in (report['stage'], *report['same'])
  ]
  if missing:
    lines.append(f'without {", ".join(missing)}')
  return '\n'.join(lines)


def proposal(report: examine.Report) -> str:
  """What `examine.propose` has added."""
  result = report['proposal']
  if result['changes']:
    return (
      f'fits with {propose.flags(result["changes"])}: '
      f'{result["bytes"] / GIB:.2f} GiB'
    )
  return f'nothing near it fits; {len(result["tried"])} tried'
