'use strict';
// The page: what is chosen, and what follows from it. Texts of the data are only ever set as text.

const byId = (id) => document.getElementById(id);
const MOST_PANELS = 6, FIRST_PANELS = 4, FLICKER_MILLISECONDS = 700, LARGEST_ZOOM = 64;

class Viewer {
  constructor(content) {
    this.content = content;
    this.place = { x: 0, y: 0, zoom: 1, size: [1, 1], tool: 'pick', picked: { top: 0, left: 0, bottom: 0, right: 0 } };
    this.choice = { view: 'colour', band: 0, layout: 'grid', split: 0.5, turn: 0 };
    this.chosen = null; // labels, kept from scene to scene
    this.tops = {}; // of the maps, by scene and kind
    this.plots = {
      spectra: new BandPlot(byId('spectra'), 280, 'Value'),
      response: new BandPlot(byId('response'), 180, 'Response'),
      psnr: new BandPlot(byId('psnr'), 280, 'PSNR (dB)'),
    };
    this.panels = [];
    this.workers = new Workers();
    this.opened = 0;
    this.reference = content.methods.includes('Reference') ? 'Ground truth' : 'Reference';
  }

  start() {
    const { content } = this;
    document.title = byId('title').textContent = content.title;
    content.scenes.forEach((scene, number) => byId('scene').add(new Option(this.sceneName(scene), number)));
    for (const [name, text] of [...content.facts, ...this.storing()]) {
      cell(byId('facts'), 'dt', name);
      cell(byId('facts'), 'dd', text);
    }
    this.table = new MetricsTable(content);
    this.listen();
    return this.open(0);
  }

  sceneName(scene) {
    const several = new Set(this.content.scenes.map((one) => one.dataset)).size > 1;
    return several ? `${scene.dataset}: ${scene.name}` : scene.name;
  }

  storing() {
    return this.content.scenes.map((scene) => {
      const rms = Math.max(...scene.cubes.map((cube) => cube.rms)), largest = Math.max(...scene.cubes.map((cube) => cube.largest));
      const of = scene.smallestError === null ? '' : ` The smallest error of a method here is ${shortNumber(scene.smallestError)} (RMSE).`;
      const maps = scene.smallestError === null ? '' : ' Maps, PSNR and metrics come from the cubes themselves; values of maps are stored within 3 %.';
      return [`Storing of ${this.sceneName(scene)}`, `Cubes in this file differ from the originals by at most ${shortNumber(rms)} (root mean square), single values by at most ${shortNumber(largest)}.${of}${maps}`];
    });
  }

  // Scenes

  async open(number) {
    const mine = ++this.opened;
    this.workers.forget();
    const scene = this.scene = this.content.scenes[number];
    byId('scene').value = number;
    this.cubes = scene.cubes.map((cube) => ({ ...cube, name: cube.reference ? this.reference : cube.label, components: null, levels: {}, pictures: {} }));
    for (const cube of this.cubes) this.loadPreview(cube);
    const [height, width] = this.place.size = scene.size;
    Object.assign(this.place, { x: width / 2, y: height / 2, zoom: 1 });
    const [row, column] = [height >> 1, width >> 1];
    this.place.picked = { top: row, bottom: row, left: column, right: column };
    this.setControls();
    this.message(null);
    this.draw();
    byId('loading').hidden = false;
    byId('loading-text').textContent = `Opening ${this.sceneName(scene)} ...`;
    byId('progress').value = 0;
    const isMine = () => mine === this.opened; // else another scene was chosen meanwhile
    const shownFirst = [...this.cubes].sort((one, other) => this.isShown(other) - this.isShown(one));
    const kinds = Object.keys(scene.maps);
    const parts = [...shownFirst.map((cube) => [cube, 'cube']), ...shownFirst.filter((cube) => !cube.reference).flatMap((cube) => kinds.map((kind) => [cube, kind]))];
    await Promise.all(parts.map(async ([cube, kind]) => {
      await this.decode(cube, kind, number, isMine);
      if (!isMine()) return;
      byId('progress').value += 1 / parts.length;
      this.draw();
    }));
    if (!isMine()) return;
    byId('loading').hidden = true;
    document.body.dataset.opened = number;
  }

  // What is seen until the cube is unpacked.
  loadPreview(cube) {
    const image = new Image();
    image.onload = () => {
      const [height, width] = this.scene.size;
      cube.small = document.createElement('canvas');
      Object.assign(cube.small, { width, height });
      cube.small.getContext('2d').drawImage(image, 0, 0, width, height);
      if (this.cubes.includes(cube) && !cube.components) this.drawPanels();
    };
    image.src = `data:image/jpeg;base64,${cube.preview}`;
  }

  // Unpack a cube or one of its maps.
  async decode(cube, kind, number, isMine) {
    const { basis, size: [height, width] } = this.scene;
    const text = await textOf(`${kind}-${number}-${this.cubes.indexOf(cube)}`);
    if (!isMine()) return;
    const values = await this.workers.ask({ kind, text, step: cube.step, count: basis.length, height, width });
    if (kind === 'cube') cube.components = values;
    else cube.levels[kind] = values;
  }

  isShown(cube) {
    return this.shownCubes().includes(cube);
  }

  shownCubes() {
    if (this.choice.layout === 'grid') return this.cubes.filter((cube) => this.chosen.has(cube.name));
    return [byId('pair-a'), byId('pair-b')].map((select) => this.cubes[select.value]).filter(Boolean);
  }

  // Controls

  setControls() {
    const names = this.cubes.map((cube) => cube.name);
    const before = this.chosen && names.filter((name) => this.chosen.has(name));
    this.chosen = new Set(before && before.length ? before : names.slice(0, FIRST_PANELS));
    const pair = [byId('pair-a'), byId('pair-b')];
    const pairBefore = pair.map((select) => select.selectedOptions[0] && select.selectedOptions[0].text);
    pair.forEach((select, side) => {
      select.replaceChildren(...names.map((name, number) => new Option(name, number)));
      const again = names.indexOf(pairBefore[side]);
      select.value = again >= 0 ? again : Math.max(0, names.length - 2 + side);
    });
    const boxes = this.cubes.map((cube) => {
      const label = document.createElement('label');
      const box = label.appendChild(document.createElement('input'));
      box.type = 'checkbox';
      box.checked = this.chosen.has(cube.name);
      box.addEventListener('change', () => this.choose(cube.name, box));
      label.append(` ${cube.name}`);
      return label;
    });
    byId('shown').replaceChildren(byId('shown').firstElementChild, ...boxes);
    byId('band').max = this.scene.basis[0].length - 1;
    this.choice.band = Math.min(this.choice.band, this.scene.basis[0].length - 1);
    const withMaps = Object.keys(this.scene.maps).length > 0;
    for (const kind of ['error', 'angle']) document.querySelector(`[name=view][value=${kind}]`).disabled = !withMaps;
    if (!withMaps && this.isMap()) this.set({ view: 'colour' });
    byId('layouts').hidden = names.length < 2;
    if (names.length < 2) this.set({ layout: 'grid' });
    byId('psnr-section').hidden = !withMaps;
    byId('psnr-title').textContent = `PSNR per band${this.scene.area ? ', of the part shown' : ''}`;
    const missing = withMaps ? [] : ['Without a reference there are no maps of errors and angles, and no PSNR.'];
    byId('area').textContent = [...(this.scene.area ? [`Shown: ${this.scene.area}.`] : []), ...missing].join(' ');
  }

  choose(name, box) {
    if (box.checked && this.chosen.size >= MOST_PANELS) {
      box.checked = false;
      return this.message(`At most ${MOST_PANELS} pictures fit side by side; take another away first.`);
    }
    this.message(null);
    if (box.checked) this.chosen.add(name);
    else this.chosen.delete(name);
    return this.draw();
  }

  set(changes) {
    Object.assign(this.choice, changes);
    for (const name of ['view', 'layout']) document.querySelector(`[name=${name}][value=${this.choice[name]}]`).checked = true;
    this.draw();
  }

  message(text) {
    byId('message').hidden = !text;
    byId('message').textContent = text || '';
  }

  isMap() {
    return this.choice.view === 'error' || this.choice.view === 'angle';
  }

  topKey() {
    return `${this.content.scenes.indexOf(this.scene)} ${this.choice.view}`;
  }

  top() {
    return this.tops[this.topKey()] || this.scene.maps[this.choice.view].top;
  }

  listen() {
    byId('controls').addEventListener('submit', (event) => event.preventDefault());
    byId('scene').addEventListener('change', (event) => this.open(Number(event.target.value)).catch(explain));
    for (const name of ['view', 'layout']) {
      for (const radio of document.querySelectorAll(`[name=${name}]`)) radio.addEventListener('change', () => this.set({ [name]: radio.value }));
    }
    for (const radio of document.querySelectorAll('[name=tool]')) radio.addEventListener('change', () => this.setTool(radio.value));
    byId('band').addEventListener('input', (event) => this.set({ band: Number(event.target.value), view: 'band' }));
    byId('split').addEventListener('input', (event) => this.set({ split: event.target.value / 100 }));
    byId('top').addEventListener('change', (event) => {
      const value = Number(event.target.value);
      if (value > 0) this.tops[this.topKey()] = value;
      this.draw();
    });
    byId('top-reset').addEventListener('click', () => {
      delete this.tops[this.topKey()];
      this.draw();
    });
    for (const id of ['pair-a', 'pair-b']) byId(id).addEventListener('change', () => this.draw());
    for (const [id, factor] of [['zoom-in', 1.5], ['zoom-out', 1 / 1.5], ['zoom-fit', 0]]) byId(id).addEventListener('click', () => this.zoom(factor));
    byId('save').addEventListener('click', () => this.saveSpectra());
    document.addEventListener('keydown', (event) => this.key(event));
    window.addEventListener('resize', () => this.resize());
    window.addEventListener('beforeprint', () => Object.values(this.plots).forEach((plot) => plot.resize(660)));
    window.addEventListener('afterprint', () => this.resize());
    setInterval(() => this.flicker(), FLICKER_MILLISECONDS);
  }

  setTool(tool) {
    this.place.tool = tool;
    document.querySelector(`[name=tool][value=${tool}]`).checked = true;
    this.drawPanels();
  }

  flicker() {
    if (this.choice.layout !== 'flicker' || !byId('running').checked) return;
    this.choice.turn = 1 - this.choice.turn;
    this.drawPanels();
  }

  resize() {
    Object.values(this.plots).forEach((plot) => plot.resize());
    this.drawPanels();
  }

  key(event) {
    const { target } = event;
    const takesKeys = target.matches('select, textarea, input[type=number]');
    if (event.ctrlKey || event.altKey || event.metaKey || takesKeys) return;
    const arrow = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    const action = arrow ? !target.matches('input') && (() => this.step(arrow, event.shiftKey)) : this.keyAction(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  }

  keyAction(key) {
    const views = { 1: 'colour', 2: 'band', 3: 'error', 4: 'angle' }, layouts = { g: 'grid', s: 'swipe', f: 'flicker' };
    if (views[key]) return () => document.querySelector(`[name=view][value=${views[key]}]`).disabled || this.set({ view: views[key] });
    if (layouts[key]) return () => byId('layouts').hidden || this.set({ layout: layouts[key] });
    const scenes = this.content.scenes.length, now = Number(byId('scene').value), bands = this.scene.basis[0].length;
    return {
      n: () => this.open((now + 1) % scenes).catch(explain),
      p: () => this.open((now + scenes - 1) % scenes).catch(explain),
      '[': () => this.set({ band: Math.max(0, this.choice.band - 1), view: 'band' }),
      ']': () => this.set({ band: Math.min(bands - 1, this.choice.band + 1), view: 'band' }),
      '+': () => this.zoom(1.5),
      '-': () => this.zoom(1 / 1.5),
      0: () => this.zoom(0),
      m: () => this.setTool(this.place.tool === 'pick' ? 'pan' : 'pick'),
      x: () => {
        [byId('pair-a').value, byId('pair-b').value] = [byId('pair-b').value, byId('pair-a').value];
        this.draw();
      },
      '?': () => { byId('help').open = !byId('help').open; },
    }[key];
  }

  // Place

  onPoint(kind, what) {
    if (kind === 'zoom') this.zoom(what.factor, what.x, what.y);
    if (kind === 'move') this.move(what.x, what.y);
    if (kind === 'pick') this.pick(what.from, what.to);
  }

  zoom(factor, x = this.place.x, y = this.place.y) {
    const [height, width] = this.place.size;
    const zoom = factor ? Math.min(Math.max(this.place.zoom * factor, 1), LARGEST_ZOOM) : 1;
    const share = this.place.zoom / zoom; // what is at x, y stays there
    this.place.x = x + (this.place.x - x) * share;
    this.place.y = y + (this.place.y - y) * share;
    this.place.zoom = zoom;
    if (zoom === 1) [this.place.x, this.place.y] = [width / 2, height / 2];
    this.move(0, 0);
  }

  move(x, y) {
    const [height, width] = this.place.size;
    this.place.x = Math.min(Math.max(this.place.x + x, 0), width);
    this.place.y = Math.min(Math.max(this.place.y + y, 0), height);
    this.drawPanels();
  }

  step([x, y], movesPicture) {
    if (movesPicture) return this.move((20 * x) / this.place.zoom, (20 * y) / this.place.zoom);
    const { top, left } = this.place.picked;
    return this.pick([left + x + 0.5, top + y + 0.5], [left + x + 0.5, top + y + 0.5]);
  }

  pick(from, to) {
    const [height, width] = this.place.size;
    const inside = (value, size) => Math.min(Math.max(Math.floor(value), 0), size - 1);
    const columns = [inside(from[0], width), inside(to[0], width)], rows = [inside(from[1], height), inside(to[1], height)];
    this.place.picked = { top: Math.min(...rows), bottom: Math.max(...rows), left: Math.min(...columns), right: Math.max(...columns) };
    this.drawPanels();
    this.drawSpectra();
  }

  // Drawing

  draw() {
    const { view, band, layout } = this.choice;
    const { wavelengths } = this.scene;
    byId('band').value = band;
    byId('band-text').textContent = `${band + 1} of ${this.scene.basis[0].length}${wavelengths ? `, ${shortNumber(wavelengths[band])} nm` : ''}`;
    byId('shown').hidden = layout !== 'grid';
    byId('pair').hidden = layout === 'grid';
    byId('split-control').hidden = layout !== 'swipe';
    byId('split').value = 100 * this.choice.split;
    byId('rate-control').hidden = layout !== 'flicker';
    byId('top-control').hidden = byId('scale').hidden = !this.isMap();
    if (this.isMap()) this.drawScale(view);
    this.drawPanels();
    this.drawSpectra();
    this.drawPsnr();
  }

  drawScale(view) {
    const unit = view === 'angle' ? '\u00b0' : '';
    byId('top').value = Number(this.top().toPrecision(3));
    byId('top-text').textContent = view === 'angle' ? 'Colours up to (degrees)' : 'Colours up to (RMSE over bands)';
    byId('scale-low').textContent = `0${unit}`;
    byId('scale-high').textContent = `${shortNumber(this.top())}${unit} and more, largest ${shortNumber(this.scene.maps[view].largest)}${unit}; grey: no value`;
    const context = byId('scale-bar').getContext('2d');
    this.content.colours.forEach((colour, at) => {
      context.fillStyle = `rgb(${colour.join(',')})`;
      context.fillRect(at, 0, 1, 12);
    });
  }

  drawPanels() {
    const shown = this.shownCubes();
    const { layout, split, turn } = this.choice;
    const groups = layout === 'grid' ? shown.map((cube) => [cube]) : layout === 'swipe' ? [shown] : [[shown[turn] || shown[0]]];
    while (this.panels.length > groups.length) this.panels.pop().root.remove();
    while (this.panels.length < groups.length) {
      const panel = new Panel(this.place, (kind, what) => this.onPoint(kind, what));
      byId('pictures').append(panel.root);
      this.panels.push(panel);
    }
    byId('pictures').classList.toggle('single', layout !== 'grid');
    byId('pictures').style.setProperty('--panel', groups.length > 3 ? '17rem' : '22rem');
    groups.forEach((group, number) => {
      const captions = group.map((cube) => this.captionOf(cube));
      const caption = layout === 'swipe' ? `left ${captions[0]} | right ${captions[1]}` : captions[0];
      this.panels[number].draw(group.map((cube) => this.pictureOf(cube)), split, caption);
    });
  }

  captionOf(cube) {
    const row = this.content.rows.find((one) => one.scene === this.scene.name && one.dataset === this.scene.dataset && one.method === cube.label);
    const psnr = !cube.reference && row && typeof row.psnr === 'number' ? `, ${row.psnr.toFixed(2)} dB` : '';
    return `${cube.name}${psnr}${cube.reference && this.isMap() ? ' (false colour)' : ''}${cube.components ? '' : ', opening ...'}`;
  }

  pictureOf(cube) {
    const view = cube.reference && this.isMap() ? 'colour' : this.choice.view;
    const isMap = view === 'error' || view === 'angle';
    if (isMap ? !cube.levels[view] : !cube.components) return view === 'colour' ? cube.small : null;
    const key = JSON.stringify(isMap ? this.top() : view === 'band' ? this.choice.band : 0);
    const kept = cube.pictures[view];
    if (kept && kept.key === key) return kept.picture;
    const picture = isMap
      ? mapPicture(this.content, this.scene, this.scene.maps[view], cube.levels[view], this.top())
      : cubePicture(this.scene, cube.components, view, this.choice.band);
    cube.pictures[view] = { key, picture };
    return picture;
  }

  // Mean spectrum of the picked pixels.
  spectrumOf(cube) {
    const width = this.scene.size[1];
    const { top, left, bottom, right } = this.place.picked;
    const spectrum = new Array(this.scene.basis[0].length).fill(0);
    cube.components.forEach((component, number) => {
      if (!component) return;
      let sum = 0;
      for (let row = top; row <= bottom; row++) for (let column = left; column <= right; column++) sum += component[row * width + column];
      const mean = sum / ((bottom - top + 1) * (right - left + 1));
      this.scene.basis[number].forEach((weight, band) => { spectrum[band] += weight * mean; });
    });
    return spectrum;
  }

  // Mean of a map over the picked pixels that have a value.
  meanOfMap(cube, kind) {
    const { top, left, bottom, right } = this.place.picked;
    let sum = 0, count = 0;
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const value = valueOfLevel(this.content, this.scene.maps[kind], cube.levels[kind][row * this.scene.size[1] + column]);
        if (!Number.isNaN(value)) {
          sum += value;
          count++;
        }
      }
    }
    return count ? sum / count : NaN;
  }

  spectra() {
    return this.cubes.filter((cube) => cube.components).map((cube) => ({ cube, values: this.spectrumOf(cube) }));
  }

  drawSpectra() {
    const { top, left, bottom, right } = this.place.picked;
    const [row, column] = this.scene.origin;
    const one = top === bottom && left === right;
    byId('spectra-title').textContent = one
      ? `Spectra at row ${row + top}, column ${column + left}`
      : `Mean spectra of rows ${row + top} to ${row + bottom}, columns ${column + left} to ${column + right}`;
    const spectra = this.spectra();
    if (!spectra.length) return this.plots.spectra.clear();
    const { methods } = this.content;
    this.plots.spectra.show(this.scene, spectra.map(({ cube, values }) => ({ label: cube.name, values, style: lineStyle(cube.reference ? null : cube.label, methods) })));
    const { response } = this.scene;
    byId('response').hidden = !response;
    if (response) {
      const lines = response.map((values, number) => ({ label: `Guide, channel ${number + 1}`, values, style: { stroke: RESPONSE_COLOURS[number % RESPONSE_COLOURS.length], width: 1.5, dash: DASHES[number % DASHES.length] } }));
      this.plots.response.show(this.scene, lines);
    }
    return this.drawReadout(spectra);
  }

  drawReadout(spectra) {
    const table = byId('readout');
    const kinds = Object.keys(this.scene.maps);
    table.tHead.replaceChildren();
    table.tBodies[0].replaceChildren();
    const head = table.tHead.insertRow();
    for (const title of ['Cube', `Value in band ${this.choice.band + 1}`, ...kinds.map((kind) => ({ error: 'Error', angle: 'Angle (\u00b0)' })[kind])]) cell(head, 'th', title);
    for (const { cube, values } of spectra) {
      const row = table.tBodies[0].insertRow();
      cell(row, 'td', cube.name);
      cell(row, 'td', values[this.choice.band].toFixed(5));
      for (const kind of kinds) cell(row, 'td', cube.levels[kind] ? shortNumber(this.meanOfMap(cube, kind)) : '');
    }
  }

  drawPsnr() {
    const known = this.cubes.filter((cube) => cube.psnr);
    if (!known.length) return this.plots.psnr.clear();
    return this.plots.psnr.show(this.scene, known.map((cube) => ({ label: cube.name, values: cube.psnr, style: lineStyle(cube.label, this.content.methods) })));
  }

  saveSpectra() {
    const spectra = this.spectra();
    const x = bandAxis(this.scene);
    // no spreadsheet shall take a name for a formula
    const quoted = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
    const lines = [[this.scene.wavelengths ? 'wavelength_nm' : 'band', ...spectra.map(({ cube }) => quoted(cube.name))].join(',')];
    x.forEach((position, band) => lines.push([position, ...spectra.map(({ values }) => values[band].toPrecision(7))].join(',')));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([`${lines.join('\n')}\n`], { type: 'text/csv' }));
    link.download = 'spectra.csv';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

function explain(error) {
  byId('loading').hidden = true;
  byId('message').hidden = false;
  byId('message').textContent = typeof DecompressionStream === 'undefined'
    ? 'This browser is too old to unpack the report (it lacks DecompressionStream): take one of 2023 or later.'
    : `The report cannot be shown: ${error.message}. The file may be damaged; make it again.`;
  throw error;
}

new Viewer(JSON.parse(byId('content').textContent)).start().catch(explain);
