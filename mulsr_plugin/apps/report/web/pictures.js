'use strict';
// Pictures of cubes and maps, and the panels that show them at a common place and zoom.

const GAMMA = 2.2;

// Sum of components with weights, a value for every pixel.
function combined(components, weights, pixels) {
  const values = new Float32Array(pixels);
  components.forEach((component, number) => {
    const weight = weights[number];
    if (!component || !weight) return;
    for (let at = 0; at < pixels; at++) values[at] += weight * component[at];
  });
  return values;
}

// What a channel, the mean of some bands, takes of each component.
function channelWeights(basis, bands) {
  return basis.map((row) => bands.reduce((sum, band) => sum + row[band], 0) / bands.length);
}

// Levels of shares of the range, which are looked up as powers take longest of all.
const SHADES = Uint8Array.from({ length: 65536 }, (_, at) => Math.round(255 * (at / 65535) ** (1 / GAMMA)));

function shade(value, [low, high]) {
  const share = Math.min(Math.max((value - low) / Math.max(high - low, 1e-12), 0), 1);
  return SHADES[Math.round(65535 * share)];
}

function pictureOf(size, paint) {
  const [height, width] = size;
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  const data = image.data;
  for (let at = 3; at < data.length; at += 4) data[at] = 255;
  paint(data);
  context.putImageData(image, 0, 0);
  return canvas;
}

function cubePicture(scene, components, view, band) {
  const pixels = scene.size[0] * scene.size[1];
  return pictureOf(scene.size, (data) => {
    for (let channel = 0; channel < (view === 'band' ? 1 : 3); channel++) {
      const bands = view === 'band' ? [band] : scene.channels[channel];
      const limits = view === 'band' ? scene.bandLimits[band] : scene.limits[channel];
      const values = combined(components, channelWeights(scene.basis, bands), pixels);
      for (let at = 0; at < pixels; at++) {
        const level = shade(values[at], limits);
        if (view === 'band') data[4 * at] = data[4 * at + 1] = data[4 * at + 2] = level;
        else data[4 * at + channel] = level;
      }
    }
  });
}

function valueOfLevel(content, map, level) {
  if (level > content.levels) return NaN;
  return level ? map.smallest * content.ratio ** (level - 1) : 0;
}

function mapPicture(content, scene, map, levels, top) {
  const colours = [];
  for (let level = 0; level < 256; level++) {
    const value = valueOfLevel(content, map, level);
    colours.push(Number.isNaN(value) ? [128, 128, 128] : content.colours[Math.round(255 * Math.min(value / top, 1))]);
  }
  return pictureOf(scene.size, (data) => {
    for (let at = 0; at < levels.length; at++) {
      const colour = colours[levels[at]];
      for (let channel = 0; channel < 3; channel++) data[4 * at + channel] = colour[channel];
    }
  });
}

// A canvas with a caption; its part of the picture follows `place`, which all panels share.
class Panel {
  constructor(place, onPoint) {
    this.place = place;
    this.root = document.createElement('figure');
    this.canvas = this.root.appendChild(document.createElement('canvas'));
    this.caption = this.root.appendChild(document.createElement('figcaption'));
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'img');
    this.listen(onPoint);
  }

  listen(onPoint) {
    const { canvas } = this;
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      const [x, y] = this.imagePoint(event);
      onPoint('zoom', { factor: event.deltaY < 0 ? 1.25 : 0.8, x, y });
    }, { passive: false });
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.from = { point: this.imagePoint(event), x: event.clientX, y: event.clientY, move: event.shiftKey || this.place.tool === 'pan' };
      if (!this.from.move) onPoint('pick', { from: this.from.point, to: this.from.point });
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!this.from) return;
      if (this.from.move) {
        onPoint('move', { x: (this.from.x - event.clientX) / this.ratio(), y: (this.from.y - event.clientY) / this.ratio() });
        this.from.x = event.clientX;
        this.from.y = event.clientY;
      } else {
        onPoint('pick', { from: this.from.point, to: this.imagePoint(event) });
      }
    });
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => { this.from = null; });
  }

  // CSS pixels for a pixel of the picture.
  ratio() {
    const [height, width] = this.place.size;
    return Math.min(this.canvas.clientWidth / width, this.canvas.clientHeight / height) * this.place.zoom;
  }

  imagePoint(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.ratio();
    return [
      this.place.x + (event.clientX - box.left - box.width / 2) / ratio,
      this.place.y + (event.clientY - box.top - box.height / 2) / ratio,
    ];
  }

  // `pictures` are two for a swipe, whose right part begins at `split`; else one, or none yet.
  draw(pictures, split, caption) {
    this.caption.textContent = caption;
    this.canvas.setAttribute('aria-label', caption);
    this.canvas.classList.toggle('pan', this.place.tool === 'pan');
    const [height, width] = this.place.size;
    const across = this.canvas.clientWidth || 300;
    const down = Math.max(40, Math.min((across * height) / width, 0.8 * window.innerHeight));
    this.canvas.style.height = `${down}px`;
    const density = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(across * density);
    this.canvas.height = Math.round(down * density);
    const context = this.canvas.getContext('2d');
    pictures.forEach((picture, number) => {
      if (picture) this.drawPicture(context, picture, number ? split * this.canvas.width : 0, density);
    });
    if (pictures.length > 1) {
      context.fillStyle = '#fff';
      context.fillRect(split * this.canvas.width - density, 0, 2 * density, this.canvas.height);
    }
    this.drawMarker(context, density);
  }

  drawPicture(context, picture, from, density) {
    const ratio = this.ratio() * density;
    context.save();
    context.beginPath();
    context.rect(from, 0, this.canvas.width - from, this.canvas.height);
    context.clip();
    context.imageSmoothingEnabled = ratio < 1;
    context.translate(this.canvas.width / 2, this.canvas.height / 2);
    context.scale(ratio, ratio);
    context.drawImage(picture, -this.place.x, -this.place.y);
    context.restore();
  }

  drawMarker(context, density) {
    const { top, left, bottom, right } = this.place.picked;
    const ratio = this.ratio() * density;
    const x = (left - this.place.x) * ratio + this.canvas.width / 2, y = (top - this.place.y) * ratio + this.canvas.height / 2;
    const width = (right - left + 1) * ratio, height = (bottom - top + 1) * ratio;
    const rim = Math.max(0, (8 * density - Math.min(width, height)) / 2);
    for (const [colour, line] of [['#000', 4], ['#fff', 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line * density;
      context.strokeRect(x - rim, y - rim, width + 2 * rim, height + 2 * rim);
    }
  }
}
