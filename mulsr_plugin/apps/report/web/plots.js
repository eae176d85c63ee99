'use strict';
// Plots over bands, by uPlot.

// Okabe and Ito's colours, which colour-blind readers tell apart, without yellow on white; dashes from the second round on.
const LINE_COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#7a5195'];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const MARKER_OF_DASH = ['solid', 'dashed', 'dotted', 'double'];
const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const RESPONSE_COLOURS = ['#d55e00', '#009e73', '#0072b2', '#cc79a7', '#e69f00', '#56b4e9', '#7a5195', '#444444'];
const SHARED_CURSOR = 'bands';

function lineStyle(label, methods) {
  const number = methods.indexOf(label);
  if (number < 0) return { stroke: '#000000', width: 2.5, dash: DASHES[0] };
  const round = Math.floor(number / LINE_COLOURS.length) % DASHES.length;
  return { stroke: LINE_COLOURS[number % LINE_COLOURS.length], width: 1.7, dash: DASHES[(number + round) % DASHES.length] };
}

function bandAxis(scene) {
  return scene.wavelengths || scene.basis[0].map((_, band) => band + 1);
}

function shortNumber(value) {
  return value === null || value === undefined || Number.isNaN(value) ? '-' : `${Number(value.toPrecision(4))}`;
}

class BandPlot {
  constructor(root, height, unit) {
    Object.assign(this, { root, height, unit, plot: null, signature: '' });
  }

  // `lines` are {label, values, style}; the plot is made anew only when the lines are others.
  show(scene, lines) {
    const x = bandAxis(scene);
    const order = x.map((_, at) => at).sort((one, other) => x[one] - x[other]);
    const data = [order.map((at) => x[at]), ...lines.map((line) => order.map((at) => line.values[at]))];
    const signature = JSON.stringify([data[0], lines.map((line) => line.label)]);
    if (this.plot && signature === this.signature) {
      this.plot.setData(data);
      return;
    }
    this.clear();
    this.signature = signature;
    const points = { show: x.length < 3, size: 8 };
    const number = (_, value) => shortNumber(value);
    const options = {
      width: this.width(),
      height: this.height,
      scales: { x: { time: false, range: (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) } },
      axes: [scene.wavelengths ? { label: 'Wavelength (nm)' } : { label: 'Band', incrs: WHOLE_STEPS }, { label: this.unit, size: 64, values: (_, ticks) => ticks.map(shortNumber) }],
      legend: { markers: { width: 3, dash: (_, at) => MARKER_OF_DASH[DASHES.indexOf(lines[at - 1].style.dash)] } },
      cursor: { sync: { key: SHARED_CURSOR } },
      series: [
        { label: scene.wavelengths ? 'nm' : 'Band', value: number },
        ...lines.map((line) => ({ label: line.label, value: number, points, spanGaps: false, ...line.style })),
      ],
    };
    this.plot = new uPlot(options, data, this.root);
  }

  clear() {
    if (this.plot) this.plot.destroy();
    this.plot = null;
  }

  width() {
    return Math.max(220, Math.floor(this.root.clientWidth));
  }

  resize(width) {
    if (this.plot) this.plot.setSize({ width: width || this.width(), height: this.height });
  }
}
