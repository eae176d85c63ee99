"""Published figures of the networks, to be set beside measured ones and never among them.

Source: Li, Yuan, Wang, Multiscale Factor Joint Learning for Hyperspectral Image Super-Resolution, IEEE TGRS 2023,
tables V and VI. The same authors print other figures for the same networks elsewhere (PZRes-Net, CAVE x8, 34.28 dB in
IEEE TGRS 2022), so each is that of one training run.
"""

from __future__ import annotations

COLUMNS = ('psnr', 'ssim', 'sam', 'rmse')
CAUTION = (
    'Published by Li, Yuan, Wang, IEEE TGRS 2023, tables V and VI, for the full training of the authors on their own '
    'split and noise. Their protocol differs from that of the measured table, so the two must not be ranked together; '
    'MulSR has four modules there.'
)
PUBLISHED: dict[tuple[str, int], dict[str, tuple[float, ...]]] = {
    ('CAVE', 8): {
        'PZRes-Net': (41.07, 0.9513, 12.57, 0.0089),
        'MoG-DCN': (43.63, 0.9873, 5.76, 0.0069),
        'UAL': (43.73, 0.9889, 6.10, 0.0068),
        'CoarseNet': (43.95, 0.9931, 3.46, 0.0070),
        'MulSR': (45.44, 0.9933, 3.49, 0.0057),
    },
    ('CAVE', 16): {
        'PZRes-Net': (39.91, 0.9443, 12.80, 0.0103),
        'MoG-DCN': (33.76, 0.8815, 15.77, 0.0215),
        'UAL': (42.50, 0.9887, 6.18, 0.0083),
        'CoarseNet': (32.36, 0.9140, 9.66, 0.0250),
        'MulSR': (41.99, 0.9889, 4.51, 0.0082),
    },
    ('Harvard', 8): {
        'PZRes-Net': (39.01, 0.9455, 8.84, 0.0128),
        'MoG-DCN': (42.78, 0.9765, 3.68, 0.0098),
        'UAL': (41.81, 0.9735, 4.80, 0.0105),
        'CoarseNet': (42.88, 0.9768, 3.39, 0.0098),
        'MulSR': (43.29, 0.9770, 3.43, 0.0096),
    },
    ('Harvard', 16): {
        'PZRes-Net': (38.71, 0.9468, 8.88, 0.0134),
        'MoG-DCN': (36.53, 0.9315, 10.08, 0.0169),
        'UAL': (41.42, 0.9747, 4.66, 0.0108),
        'CoarseNet': (41.68, 0.9752, 3.60, 0.0107),
        'MulSR': (42.15, 0.9754, 3.77, 0.0105),
    },
}


def published_at(scale: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the published figures at a scale: by data set, then network, then metric.

    The network of the row MulSR has four modules. No figure of the paper is at another scale than 8 and 16.
    """
    return {
        dataset: {network: dict(zip(COLUMNS, values)) for network, values in table.items()}
        for (dataset, at), table in PUBLISHED.items()
        if at == scale
    }
