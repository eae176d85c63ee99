'use strict';
// The table of metrics.

function tableNumber(key, value) {
  if (value === null || value === undefined) return '-';
  if (key === 'parameters') return value.toLocaleString('en');
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 4);
}

function cell(row, kind, text) {
  const element = row.appendChild(document.createElement(kind));
  element.textContent = text;
  return element;
}

class MetricsTable {
  constructor(content) {
    this.content = content;
    this.sorted = { key: null, descending: false };
    this.table = document.getElementById('metrics');
    this.choice = document.getElementById('metrics-of');
    this.groups = this.makeGroups();
    this.groups.forEach((group, number) => this.choice.add(new Option(group.name, number)));
    this.choice.addEventListener('change', () => this.draw());
    document.getElementById('metrics-section').hidden = !this.groups.length;
    if (this.groups.length) this.draw();
  }

  // For every data set the means, then its scenes.
  makeGroups() {
    const groups = [];
    for (const dataset of new Set(this.content.rows.map((row) => row.dataset))) {
      const rows = this.content.rows.filter((row) => row.dataset === dataset);
      const scenes = [...new Set(rows.map((row) => row.scene))];
      const of = dataset ? ` of ${dataset}` : '';
      if (scenes.length > 1) groups.push({ name: `Means over ${scenes.length} scenes${of}`, rows: this.means(rows, scenes.length) });
      for (const scene of scenes) groups.push({ name: `${scene}${of}`, rows: rows.filter((row) => row.scene === scene) });
    }
    return groups;
  }

  // Means of methods with results for all scenes; others do not compare.
  means(rows, count) {
    const means = [];
    for (const method of this.content.methods) {
      const own = rows.filter((row) => row.method === method);
      if (!own.length) continue;
      const mean = { method: own.length < count ? `${method} (${own.length} of ${count} scenes)` : method, partial: own.length < count };
      for (const { key } of this.content.metrics) {
        const values = own.map((row) => row[key]);
        const known = values.every((value) => value !== null && value !== undefined);
        mean[key] = known ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
      }
      means.push(mean);
    }
    return means;
  }

  sortBy(key, higher) {
    const again = this.sorted.key === key;
    this.sorted = { key, descending: again ? !this.sorted.descending : higher };
    this.draw();
    document.querySelector(`#metrics th[aria-sort] button`).focus();
  }

  draw() {
    const group = this.groups[this.choice.value || 0];
    const metrics = this.content.metrics.filter(({ key }) => group.rows.some((row) => typeof row[key] === 'number'));
    const [head, body] = [this.table.tHead, this.table.tBodies[0]];
    head.replaceChildren();
    body.replaceChildren();
    const first = head.insertRow();
    const columns = [{ key: 'method', title: 'Method', higher: false }, ...metrics];
    for (const { key, title, higher } of columns) {
      const header = first.appendChild(document.createElement('th'));
      header.scope = 'col';
      const button = cell(header, 'button', key === 'method' ? title : `${title} ${higher ? '\u2191' : '\u2193'}`);
      button.type = 'button';
      button.addEventListener('click', () => this.sortBy(key, higher));
      if (this.sorted.key === key) header.setAttribute('aria-sort', this.sorted.descending ? 'descending' : 'ascending');
    }
    for (const row of this.inOrder(group.rows)) {
      const line = body.insertRow();
      cell(line, 'td', row.method);
      for (const { key, higher } of metrics) {
        const element = cell(line, 'td', tableNumber(key, row[key]));
        const known = group.rows.filter((other) => !other.partial && typeof other[key] === 'number').map((other) => other[key]);
        const best = higher ? Math.max(...known) : Math.min(...known);
        if (new Set(known).size > 1 && !row.partial && row[key] === best) element.className = 'best';
      }
    }
  }

  inOrder(rows) {
    const { key, descending } = this.sorted;
    if (!key) return rows;
    const direction = descending ? -1 : 1;
    const missing = (value) => value === null || value === undefined;
    return [...rows].sort((one, other) => {
      const [a, b] = [one[key], other[key]];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return direction * (typeof a === 'string' ? a.localeCompare(b) : a - b);
    });
  }
}
